"use strict";

// What acts on several strips: two to four to compare, listed in a tray, and addresses of favourites to share.
isthmus.tray = (() => {
  const { address, byId, element, favourites, pairs } = isthmus;
  const MOST = 4;
  const tray = byId("tray");
  const chosen = new Map(); // key -> name

  async function toggle(key) {
    if (!chosen.delete(key) && chosen.size < MOST) chosen.set(key, pairs.at(await pairs.rowOfKey(key)).name);
    show();
  }

  function show() {
    tray.hidden = chosen.size === 0;
    document.querySelectorAll("[data-list=tray]").forEach(mark);
    const chips = [...chosen].map(([key, name]) => {
      const chip = element("button", { type: "button", className: "chip" }, isthmus.quoted(name), " ×");
      chip.setAttribute("aria-label", `Do not compare ${name}`);
      chip.addEventListener("click", () => toggle(key));
      return chip;
    });
    const text = chosen.size === 1 ? `Choose one more strip, or up to ${MOST - 1}.` : `Compare ${chosen.size} strips`;
    const href = address.to("compare", [...chosen.keys()].join(".."));
    const clear = element("button", { type: "button", textContent: "Clear" });
    clear.addEventListener("click", () => {
      chosen.clear();
      show();
    });
    tray.replaceChildren(...chips, element(chosen.size === 1 ? "span" : "a", { href }, text), clear);
  }

  const mark = (button) => button.setAttribute("aria-pressed", chosen.has(button.dataset.pair));

  addEventListener("click", ({ target }) => target.dataset?.list === "tray" && toggle(target.dataset.pair));

  // Copy the address of the favourites.
  function share() {
    const chosen = { keys: favourites.keys().join("..") };
    return isthmus.copy(location.href.split("#")[0] + address.toGrid(chosen), byId("said"), "The address of the favourites");
  }

  return { share, mark };
})();
