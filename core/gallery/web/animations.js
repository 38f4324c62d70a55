"use strict";

// Animated files from the frames of a strip, made by the browser: WebP, GIF, and video where it can record one. Frames
// are canvases of one size; each is shown for a number of seconds. The results are { blob, suffix }.
isthmus.animations = (() => {
  const { element, gifenc } = isthmus;
  const EXACT = 2_000_000; // pixels in all frames, up to which WebP is lossless, in browsers that can
  const QUALITY = 0.92; // of larger files
  const VIDEO_BITS = 8_000_000; // a second
  const VIDEO_TYPES = [
    { type: "video/mp4;codecs=avc1.42E01F", suffix: "mp4", label: "MP4" },
    { type: "video/webm;codecs=vp9", suffix: "webm", label: "WebM" },
    { type: "video/webm", suffix: "webm", label: "WebM" },
  ];
  const FORBIDDEN =
    "A browser does not let a page that was opened from a folder read its own pictures, so it cannot make files of " +
    "them. Run `isthmus open --serve` with the folder of the atlas, or any other web server, and use the page there. " +
    "Sheet, preview and record can be downloaded here too.";

  async function load(path) {
    const image = element("img", { src: path });
    try {
      await image.decode();
      (await createImageBitmap(image, 0, 0, 1, 1)).close(); // fails for a file that is cut short
    } catch {
      throw new Error(`${path} could not be read`);
    }
    return image;
  }

  // Return why no file can be made of a picture, or undefined.
  async function check(path) {
    try {
      const image = await load(path);
      draw(image, 0, 1, 1).getContext("2d").getImageData(0, 0, 1, 1);
    } catch (error) {
      return error.name === "SecurityError" ? FORBIDDEN : `${error.message}.`;
    }
  }

  // Return the frames of a strip.
  async function read(path, { frames }) {
    const image = await load(path);
    const width = Math.round(image.naturalWidth / frames);
    return Array.from({ length: frames }, (_, frame) => draw(image, frame * width, width, image.naturalHeight));
  }

  function draw(image, left, width, height) {
    const canvas = element("canvas", { width, height });
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, -left, 0);
    return canvas;
  }

  const encoded = (canvas, type, quality) => new Promise((resolve) => canvas.toBlob(resolve, type, quality));

  const png = (canvas) => encoded(canvas, "image/png");

  // ---- GIF: 256 colours for each frame; a frame's time is a whole number of 1/100 s

  async function gif(frames, seconds) {
    const encoder = gifenc.GIFEncoder();
    for (const canvas of frames) {
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      // From 4 bits a channel, a palette for real strips is found 10 times as fast as from 5 or 6, and 0.1 dB worse.
      const palette = gifenc.quantize(data, 256, { format: "rgb444" });
      const delay = Math.max(20, Math.round(seconds * 100) * 10); // ms; less is taken for 100 ms
      encoder.writeFrame(gifenc.applyPalette(data, palette), width, height, { palette, delay, repeat: 0 });
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
    }
    encoder.finish();
    return { blob: new Blob([encoder.bytes()], { type: "image/gif" }), suffix: "gif" };
  }

  // ---- WebP: the frames are encoded by the browser, and put into one file as the format's container specifies

  async function webp(frames, seconds) {
    const { width, height } = frames[0];
    const quality = frames.length * width * height <= EXACT ? 1 : QUALITY;
    const size = [...bytes(width - 1, 3), ...bytes(height - 1, 3)];
    const chunks = [
      chunk("VP8X", [0b10, 0, 0, 0, ...size]), // it has an animation
      chunk("ANIM", [0, 0, 0, 0, 0, 0]), // no background, for ever
    ];
    for (const canvas of frames) {
      const blob = await encoded(canvas, "image/webp", quality);
      if (blob.type !== "image/webp") throw new Error("this browser cannot encode WebP");
      const place = [0, 0, 0, 0, 0, 0, ...size, ...bytes(Math.round(seconds * 1000), 3), 0b10]; // drawn without blending
      chunks.push(chunk("ANMF", place, ...picturesIn(new Uint8Array(await blob.arrayBuffer()))));
    }
    const riff = [new TextEncoder().encode("WEBP"), ...chunks.flat()];
    const length = riff.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const parts = [new TextEncoder().encode("RIFF"), Uint8Array.from(bytes(length, 4)), ...riff];
    return { blob: new Blob(parts, { type: "image/webp" }), suffix: "webp" };
  }

  // Return the parts of a WebP file that a frame of an animation needs: its picture and its opacity.
  function picturesIn(file) {
    const found = [];
    const view = new DataView(file.buffer);
    for (let at = 12; at + 8 <= file.length;) {
      const name = String.fromCharCode(...file.subarray(at, at + 4));
      const end = at + 8 + view.getUint32(at + 4, true);
      const padded = end + (end % 2);
      if (["ALPH", "VP8 ", "VP8L"].includes(name)) found.push(file.slice(at, padded));
      at = padded;
    }
    return found;
  }

  // Return the parts of a chunk; all its contents have even lengths.
  function chunk(name, start, ...contents) {
    const length = start.length + contents.reduce((sum, { length }) => sum + length, 0);
    return [new TextEncoder().encode(name), Uint8Array.from(bytes(length, 4)), Uint8Array.from(start), ...contents];
  }

  const bytes = (number, count) => Array.from({ length: count }, (_, place) => (number >>> (8 * place)) & 255);

  // ---- video, recorded while the frames are shown

  const videoType = () => VIDEO_TYPES.find(({ type }) => window.MediaRecorder?.isTypeSupported(type));

  async function video(frames, seconds) {
    const { type, suffix } = videoType();
    const { width, height } = frames[0];
    const canvas = element("canvas", { width: width + (width % 2), height: height + (height % 2) }); // as MP4 needs it
    const context = canvas.getContext("2d");
    context.drawImage(frames[0], 0, 0);
    const recorder = new MediaRecorder(canvas.captureStream(), { mimeType: type, videoBitsPerSecond: VIDEO_BITS });
    const parts = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    const ended = new Promise((resolve, reject) => {
      recorder.addEventListener("stop", resolve);
      recorder.addEventListener("error", ({ error }) => reject(error));
    });
    recorder.start();
    for (const frame of [...frames, frames.at(-1)]) {
      context.drawImage(frame, 0, 0);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
    recorder.stop();
    await ended;
    return { blob: new Blob(parts, { type }), suffix };
  }

  return { check, read, png, gif, webp, video, videoType };
})();
