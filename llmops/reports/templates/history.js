// Opens what is folded for printing. Without it the page shows everything all the same.
(() => {
  "use strict";
  addEventListener("beforeprint", () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((part) => { part.open = true; });
    addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }), { once: true });
  });
})();
