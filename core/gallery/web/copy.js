"use strict";

// Put a text on the clipboard, and say so in an element. If the browser refuses, as it does in some frames and on pages
// that do not come over HTTPS, the element shows the text, selected, for the reader to copy. `what` names the text, such
// as "The link". Return whether the text is on the clipboard.
isthmus.copy = async (text, said, what = "The text") => {
  const field = isthmus.element("textarea", { className: "to-copy", value: text, readOnly: true, rows: 2 });
  field.setAttribute("aria-label", what);
  said.replaceChildren(field); // only a field that is shown can be selected
  const copied = await write();
  if (copied) said.textContent = `${what} is on the clipboard.`;
  else {
    said.prepend("The browser does not let this page write to the clipboard. Press Ctrl+C (on a Mac ⌘C) to copy: ");
    field.select();
  }
  return copied;

  async function write() {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      field.select();
      return document.execCommand("copy"); // older, and allowed in some places where the other is not
    }
  }
};
