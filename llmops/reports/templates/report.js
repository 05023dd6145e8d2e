// Filters, sorts and opens the rows. All it knows it reads from the page; without it the page shows every row.
(() => {
  "use strict";
  const controls = document.getElementById("controls");
  const list = document.getElementById("cards");
  const cards = list ? [...list.children] : [];
  const ORDER = { regressed: 0, improved: 1, none: 2, same: 3 };
  const texts = new Map();

  const textOf = (card) => {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  };
  const number = (card, name) => Number(card.dataset[name]);
  const byRank = (a, b) => number(a, "rank") - number(b, "rank");
  const COMPARE = {
    rank: byRank,
    row: (a, b) => number(a, "row") - number(b, "row"),
    change: (a, b) => ORDER[a.dataset.change] - ORDER[b.dataset.change] || byRank(a, b),
  };

  const read = () => ({
    text: controls.elements.text.value.trim().toLowerCase(),
    change: controls.elements.change.value,
    sort: controls.elements.sort.value,
  });

  const matches = (card, wanted) =>
    (wanted.change === "all" || card.dataset.change === wanted.change || card.dataset.status === wanted.change) &&
    (wanted.text === "" || textOf(card).includes(wanted.text));

  const apply = () => {
    const wanted = read();
    let shown = 0;
    for (const card of cards) {
      card.hidden = !matches(card, wanted);
      shown += card.hidden ? 0 : 1;
    }
    list.append(...[...cards].sort(COMPARE[wanted.sort]));
    document.getElementById("shown").textContent = `${shown} of ${cards.length} rows shown`;
  };

  const remember = () => {
    const wanted = read();
    const kept = Object.entries(wanted).filter(([, value]) => value !== "" && value !== "all" && value !== "rank");
    const hash = new URLSearchParams(kept).toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  };

  const openTarget = () => {
    const id = location.hash.slice(1);
    const target = /^row-\d+$/.test(id) ? document.getElementById(id) : null;
    if (!target) return false;
    target.open = true;
    target.scrollIntoView();
    return true;
  };

  const restore = () => {
    const kept = new URLSearchParams(location.hash.slice(1));
    const has = (field, value) => [...(field.options ?? field)].some((choice) => choice.value === value);
    controls.elements.text.value = kept.get("text") ?? "";
    for (const name of ["change", "sort"]) {
      if (has(controls.elements[name], kept.get(name))) controls.elements[name].value = kept.get(name);
    }
  };

  const setOpen = (open) => cards.filter((card) => !card.hidden).forEach((card) => { card.open = open; });

  const openForPrint = () => {
    const closed = [...document.querySelectorAll("details:not([open])")].filter((part) => !part.hidden);
    closed.forEach((part) => { part.open = true; });
    addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }), { once: true });
  };

  addEventListener("beforeprint", openForPrint);
  if (!controls) return;
  controls.hidden = false;
  controls.addEventListener("input", () => { apply(); remember(); });
  controls.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("open-all").addEventListener("click", () => setOpen(true));
  document.getElementById("close-all").addEventListener("click", () => setOpen(false));
  addEventListener("hashchange", openTarget);
  restore();
  apply();
  openTarget();
})();
