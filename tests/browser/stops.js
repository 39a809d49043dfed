// Where the Tab key must stop, in the order of the document; where it did stop is kept in `window.met`.
({
  mark() {
    const groups = new Set();
    const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
      .filter((element) => element.type !== "hidden" && !element.disabled && element.checkVisibility())
      // Radios are one stop; the arrow keys do the rest.
      .filter((element) => element.type !== "radio" || (!groups.has(element.name) && groups.add(element.name)));
    // A page with an error opens with the focus on it; begin at the top nevertheless.
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
    window.met = [];
    document.addEventListener("focusin", ({ target }) => {
      window.met.push({ n: stops.indexOf(target), name: this.name(target), shown: this.shown(target) });
    });
    return stops.map(this.name);
  },
  name(element) {
    return `${element.localName} ${element.textContent.trim().slice(0, 20)}`;
  },
  shown(element) {
    const looks = [getComputedStyle(element)];
    // A radio is drawn by its label.
    const drawn = element.type === "radio" ? element.labels[0] : element;
    if (element.type === "radio") looks.push(getComputedStyle(drawn, "::before"));
    if (element.localName === "summary") looks.push(getComputedStyle(element.firstElementChild));
    const ring = (style) =>
      style.boxShadow !== "none" || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
    return looks.some(ring) && drawn.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  },
})
