// Measures the page it runs in and returns what is wrong, one line each.
({ locale, target, text, width, gap }) => {
  const faults = [];
  const root = document.documentElement;
  const name = (element) => {
    const words = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 30);
    return `<${element.localName}${element.id ? ` id=${element.id}` : ""}${element.className ? ` class="${element.className}"` : ""}> ${words}`;
  };
  const style = (element) => getComputedStyle(element);
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    // What is for screen readers only is one pixel large; the skip link shows itself when it has the focus.
    return box.width > 2 && box.height > 2 && style(element).visibility === "visible";
  };
  const box = (element) => {
    const boxes = [element, ...(element.type === "radio" ? element.labels : [])].map((e) => e.getBoundingClientRect());
    return {
      width: Math.max(...boxes.map((b) => b.right)) - Math.min(...boxes.map((b) => b.left)),
      height: Math.max(...boxes.map((b) => b.bottom)) - Math.min(...boxes.map((b) => b.top)),
    };
  };

  if (root.lang !== locale) faults.push(`the language is ${root.lang}`);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  if (!document.title.trim()) faults.push("no title");
  if (root.scrollWidth > width) faults.push(`${root.scrollWidth} px wide in a window of ${width}`);

  for (const element of document.querySelectorAll("a[href], button, input, select, textarea, summary")) {
    if (element.type === "hidden" || !seen(element)) continue;
    const { width, height } = box(element);
    // Half a pixel is rounding.
    if (Math.min(width, height) < target - 0.5) {
      faults.push(`target of ${Math.round(width)} x ${Math.round(height)} px: ${name(element)}`);
    }
  }

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(parent) || parent.closest("[aria-hidden=true]")) continue;
    const size = parseFloat(style(parent).fontSize);
    const line = parseFloat(style(parent).lineHeight);
    if (size < text) faults.push(`text of ${size} px: ${name(parent)}`);
    if (!(line >= 1.3 * size - 0.01)) faults.push(`lines of ${line} px for text of ${size} px: ${name(parent)}`);
  }

  for (const next of gap ? document.querySelectorAll("p + p") : []) {
    const before = next.previousElementSibling;
    if (!seen(before) || !seen(next)) continue;
    const between = parseFloat(style(before).lineHeight) - parseFloat(style(before).fontSize);
    const apart = next.getBoundingClientRect().top - before.getBoundingClientRect().bottom;
    if (apart < gap * between - 0.5) faults.push(`paragraphs ${apart} px apart, lines ${between} px: ${name(next)}`);
  }

  for (const message of document.querySelectorAll(".govuk-error-message")) {
    const field = document.querySelector(`[aria-describedby~="${message.id}"]`);
    if (!message.id || !field) faults.push(`no field is described by ${name(message)}`);
    else if (!document.querySelector(`.govuk-error-summary a[href="#${field.id}"], .govuk-error-summary a[href="#${field.querySelector("input")?.id}"]`)) {
      faults.push(`the summary does not lead to ${name(field)}`);
    }
  }
  for (const link of document.querySelectorAll(".govuk-error-summary a")) {
    if (!document.querySelector(link.getAttribute("href"))) faults.push(`leads nowhere: ${name(link)}`);
  }
  if (document.querySelector(".govuk-error-summary") && !/^(错误：|Error: )/.test(document.title)) {
    faults.push(`the title does not say that something is wrong: ${document.title}`);
  }
  return faults;
}
