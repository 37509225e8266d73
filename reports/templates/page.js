// What the page can do beyond being read: explanations in place, sorted tables, enlarged and superimposed pictures.
"use strict";
(() => {
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Explanations stand beside their word, within the window; Escape hides one.
  const place = (event) => {
    const term = event.target.closest?.(".term");
    if (!term) return;
    const box = term.getBoundingClientRect();
    const below = box.bottom < innerHeight * 0.7;
    const set = (name, value) => term.style.setProperty(name, value);
    set("--left", `${Math.max(12, Math.min(box.left, document.documentElement.clientWidth - 372))}px`);
    set("--top", below ? `${box.bottom}px` : "auto");
    set("--bottom", below ? "auto" : `${innerHeight - box.top}px`);
  };
  const loud = (event) => event.target.closest?.(".term")?.classList.remove("quiet");
  addEventListener("pointerover", place);
  addEventListener("focusin", place);
  addEventListener("pointerout", loud);
  addEventListener("focusout", loud);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll(".term:hover, .term:focus").forEach((term) => term.classList.add("quiet"));
  });

  // Tables: a click on a heading sorts by its column, a second one the other way round; what is no number comes last.
  const number = (text) => parseFloat(text.replace(/^[<\s]+/, "").replace(/(\d),(?=\d{3})/g, "$1"));
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const text = (row) => row.cells[column].innerText.trim();
    const numeric = [...body.rows].some((row) => !isNaN(number(text(row))));
    const order = (a, b) => {
      const [x, y] = [number(text(a)), number(text(b))];
      if (numeric && isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      const difference = numeric && !isNaN(x) ? x - y : text(a).localeCompare(text(b), "en", { numeric: true });
      return down ? -difference : difference;
    };
    body.append(...[...body.rows].sort(order));
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    if (table.tBodies[0].rows.length < 2) return;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const name = head.innerText.trim();
      if (!name) return;
      const button = make("button", { type: "button", className: "sort", textContent: "↕" });
      button.setAttribute("aria-label", `sort by ${name}`);
      head.append("\u00a0", button)  // stays with the last word;
      head.addEventListener("click", (event) => {
        if (event.target.closest("a")) return;
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => {
          other.removeAttribute("aria-sort");
          const arrow = other.querySelector(".sort");
          if (arrow) arrow.textContent = "↕";
        });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        button.textContent = down ? "↓" : "↑";
        sort(table, column, down);
      });
    });
  });

  // Pictures: original and reconstruction in one frame, as much of each as the slider says.
  const superimposed = (original, rebuilt) => {
    const copy = (image) => make("img", { src: image.src, alt: "" });
    const range = make("input", { type: "range", min: 0, max: 100, value: 50 });
    range.setAttribute("aria-label", `how much of ${original.alt} covers ${rebuilt.alt}`);
    const pair = make("div", { className: "pair" }, copy(original), copy(rebuilt));
    const ends = make("div", { className: "ends" },
      make("span", { textContent: "original" }), make("span", { textContent: rebuilt.dataset.name }));
    const box = make("div", { className: "compare" }, pair, range, ends);
    const cut = () => {
      box.style.setProperty("--cut", `${range.value}%`);
      range.setAttribute("aria-valuetext", `${range.value}% original`);
    };
    range.addEventListener("input", cut);
    cut();
    return box;
  };

  const shown = make("div");
  const button = (textContent, onclick) => make("button", { type: "button", textContent, onclick });
  const dialog = make("dialog", {}, shown, make("div", { className: "bar" },
    button("Previous", () => step(-1)), button("Next", () => step(1)), button("Close", () => dialog.close())));
  dialog.setAttribute("aria-label", "enlarged picture");
  let images = [], at = 0;
  const step = (by) => {
    at = (at + by + images.length) % images.length;
    const [original, image] = [images[0], images[at]];
    const large = at ? superimposed(original, image) : make("img", { className: "single", src: image.src, alt: image.alt });
    shown.replaceChildren(make("p", { textContent: image.dataset.caption }), large);
  };
  const pictures = document.querySelectorAll(".picture");
  if (pictures.length) document.body.append(dialog);
  pictures.forEach((picture) => {
    const found = [...picture.querySelectorAll("img")];
    found.forEach((image, place) => {
      const shot = make("button", { type: "button", className: "shot" });
      shot.setAttribute("aria-label", `enlarge ${image.alt}`);
      image.replaceWith(shot);
      shot.append(image);
      shot.addEventListener("click", () => {
        [images, at] = [found, place];
        step(0);
        dialog.showModal();
      });
    });
    if (found.length > 1 && found[0].dataset.name === "original") picture.prepend(superimposed(found[0], found[1]));
  });

  // On paper nothing is folded away.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
})();
