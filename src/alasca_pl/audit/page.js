"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const classes = data.classes;
  const FIELDS = ["rank", "split", "index", "name", "given", "suggested", "wrong", "reason", "turn", "image", "small"];
  const items = data.items.map((row) => Object.fromEntries(FIELDS.map((field, k) => [field, row[k]])));
  const ranked = items.filter((item) => item.rank <= data.shown).sort((a, b) => a.rank - b.rank);
  const sampled = items.filter((item) => item.turn >= 0).sort((a, b) => a.turn - b.turn);
  const keyOf = (item) => `${item.split}/${item.index}`;
  const pairOf = (item) => `${item.given}/${item.suggested}`;
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), spacer = byId("spacer"), choice = byId("class"), budget = byId("budget");
  const ACTIONS = ["keep", "relabel", "drop", "unsure"];
  const CARD = { least: 160, width: 160, height: 192, gap: 10 };
  const STORE = `alasca-audit-${data.audit}`;

  const saved = read();
  const decisions = saved.decisions;
  let view = saved.view, pair = null, shown = [], columns = 1, current = 0;
  const cards = new Map();

  function read() {
    const empty = { decisions: {}, view: "suspects", budget: data.budget };
    try {
      const stored = JSON.parse(localStorage.getItem(STORE));
      return stored && typeof stored === "object" ? { ...empty, ...stored } : empty;
    } catch {
      return empty;
    }
  }

  function store() {
    try {
      localStorage.setItem(STORE, JSON.stringify({ decisions, view, budget: Number(budget.value) }));
    } catch {
      byId("progress").textContent = "this browser keeps nothing: export before you leave";
    }
  }

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // --- what is listed -------------------------------------------------------------------------------------------------

  function choose(newView, newPair) {
    const before = shown[current];
    view = newView;
    pair = newPair;
    const within = ranked.slice(0, Number(budget.value));
    if (view === "sample") shown = sampled;
    else if (view === "pairs") {
      const order = new Map(data.pairs.map((row, place) => [`${row[0]}/${row[1]}`, place]));
      const place = (item) => order.get(pairOf(item)) ?? data.pairs.length;
      shown = within.filter((item) => pair === null || pairOf(item) === pair);
      shown.sort((a, b) => place(a) - place(b) || a.rank - b.rank);
    } else shown = pair === null ? within : within.filter((item) => pairOf(item) === pair);
    for (const tab of byId("views").children) tab.setAttribute("aria-selected", String(tab.dataset.view === view));
    byId("budget-line").hidden = view === "sample";
    byId("sample-line").hidden = view !== "sample";
    for (const button of byId("pairs").children) button.setAttribute("aria-pressed", String((button.dataset.pair ?? null) === pair));
    byId("pairs").hidden = view === "sample";
    for (const card of cards.values()) card.remove();
    cards.clear();
    current = Math.max(0, shown.indexOf(before));
    layout();
    select(current, true);
    describe();
  }

  function describe() {
    const count = Math.min(Number(budget.value), ranked.length);
    const part = Math.round(100 * data.found[count]);
    byId("budget-text").textContent =
      `reviewing ${count.toLocaleString("en")} image${count === 1 ? "" : "s"} finds about ${part} % of the estimated errors`;
    const total = view === "sample" ? sampled : ranked.slice(0, count);
    const done = total.filter((item) => decisions[keyOf(item)]).length;
    byId("progress").textContent = `${done.toLocaleString("en")} of ${total.length.toLocaleString("en")} decided`;
  }

  // --- the grid: only the cards in sight exist --------------------------------------------------------------------------

  function layout() {
    const room = list.clientWidth - CARD.gap;
    columns = Math.max(1, Math.floor(room / (CARD.least + CARD.gap)));
    CARD.width = Math.floor(room / columns) - CARD.gap;
    spacer.style.height = `${Math.ceil(shown.length / columns) * (CARD.height + CARD.gap) + CARD.gap}px`;
    for (const card of cards.values()) card.remove();
    cards.clear();
    draw();
  }

  function draw() {
    const row = CARD.height + CARD.gap;
    const first = Math.max(0, Math.floor(list.scrollTop / row) - 2) * columns;
    const last = Math.min(shown.length, (Math.ceil((list.scrollTop + list.clientHeight) / row) + 2) * columns);
    for (const [place, card] of cards) {
      if (place < first || place >= last) {
        card.remove();
        cards.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) {
      if (!cards.has(place)) {
        const card = makeCard(place);
        cards.set(place, card);
        spacer.append(card);
      }
    }
  }

  function makeCard(place) {
    const item = shown[place];
    const card = element("div", undefined, "card");
    card.dataset.place = String(place);
    card.style.width = `${CARD.width}px`;
    card.style.height = `${CARD.height}px`;
    card.style.left = `${CARD.gap + (place % columns) * (CARD.width + CARD.gap)}px`;
    card.style.top = `${CARD.gap + Math.floor(place / columns) * (CARD.height + CARD.gap)}px`;
    const image = element("img", undefined, item.small ? "small" : "");
    image.src = item.image;
    image.alt = item.name;
    const labels = element("div", undefined, "labels");
    const foot = element("div", undefined, "foot");
    foot.append(element("span", view === "sample" ? `${place + 1}` : `#${item.rank} · wrong ${Math.round(100 * item.wrong)} %`), element("span", "", "state"));
    card.append(image, labels, foot);
    paint(card, item, place);
    return card;
  }

  function paint(card, item, place) {
    const decision = decisions[keyOf(item)];
    const labels = card.querySelector(".labels");
    const plain = view === "sample" || decision?.[0] === "keep" || decision?.[0] === "drop";
    const target = decision?.[0] === "relabel" ? decision[1] : plain ? item.given : item.suggested;
    const moves = target !== item.given;
    labels.replaceChildren(element("span", classes[item.given], moves || decision?.[0] === "drop" ? "given" : "plain"));
    if (moves) labels.append(element("span", "→", "to"), element("span", classes[target], "new"));
    labels.title = labels.textContent;
    card.querySelector(".state").textContent = decision ? decision[0] : "";
    if (decision) card.dataset.state = decision[0];
    else delete card.dataset.state;
    card.classList.toggle("chosen", place === current);
  }

  // --- the selected image -----------------------------------------------------------------------------------------------

  function select(place, scroll) {
    const old = cards.get(current);
    current = Math.max(0, Math.min(place, shown.length - 1));
    if (old) old.classList.remove("chosen");
    cards.get(current)?.classList.add("chosen");
    if (scroll) {
      const row = CARD.height + CARD.gap, top = Math.floor(current / columns) * row;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + row + CARD.gap > list.scrollTop + list.clientHeight) list.scrollTop = top + row + CARD.gap - list.clientHeight;
      draw();
    }
    const item = shown[current];
    byId("detail").style.visibility = item ? "visible" : "hidden";
    if (!item) return;
    const blind = view === "sample";
    const big = byId("big");
    big.src = item.image;
    big.className = item.small ? "small" : "";
    byId("name").textContent = `${item.split}: ${item.name}`;
    byId("given").textContent = classes[item.given];
    byId("suggested").textContent = item.suggested === item.given ? "the given one" : classes[item.suggested];
    byId("wrong").textContent = `${Math.round(100 * item.wrong)} %`;
    byId("reason").textContent = blind ? "" : item.reason;
    for (const id of ["suggested-head", "suggested", "wrong-head", "wrong"]) byId(id).hidden = blind;
    const decision = decisions[keyOf(item)];
    const chosen = decision?.[0] === "relabel" ? decision[1] : blind ? item.given : item.suggested;
    choice.value = chosen === item.given ? "" : String(chosen);
    for (const button of byId("actions").children) button.setAttribute("aria-pressed", String(button.dataset.action === decision?.[0]));
  }

  function decide(action) {
    const item = shown[current];
    if (!item) return;
    if (action === null) delete decisions[keyOf(item)];
    else if (action === "relabel") {
      if (choice.value === "" || Number(choice.value) === item.given) {
        choice.focus();
        return;
      }
      decisions[keyOf(item)] = [action, Number(choice.value), new Date().toISOString()];
    } else decisions[keyOf(item)] = [action, null, new Date().toISOString()];
    store();
    const card = cards.get(current);
    if (card) paint(card, item, current);
    if (action !== null && current + 1 < shown.length) select(current + 1, true);
    else select(current, false);
    describe();
  }

  // --- export -----------------------------------------------------------------------------------------------------------

  function exported() {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [data.columns];
    for (const item of [...items].sort((a, b) => a.rank - b.rank)) {
      const decision = decisions[keyOf(item)];
      if (!decision) continue;
      const label = decision[0] === "relabel" ? classes[decision[1]] : decision[0] === "drop" ? "" : classes[item.given];
      lines.push([data.audit, data.named ? item.name : "", String(item.index), item.split, classes[item.given], decision[0], label, decision[2]]);
    }
    return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
  }

  function download() {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([exported()], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // --- events -----------------------------------------------------------------------------------------------------------

  choice.append(new Option("choose ...", ""), ...classes.map((name, number) => new Option(name, String(number))));
  budget.max = String(ranked.length);
  budget.value = String(saved.budget);
  const all = element("button");
  all.append(element("span", "all pairs", "pair"));
  byId("pairs").append(all);
  for (const [given, suggested, expected] of data.pairs) {
    const button = element("button");
    button.dataset.pair = `${given}/${suggested}`;
    button.append(element("span", `${classes[given]} → ${classes[suggested]}`, "pair"), element("span", `about ${Math.round(expected)}`, "number"));
    byId("pairs").append(button);
  }
  byId("pairs").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) choose(view, button.dataset.pair ?? null);
  });
  byId("views").addEventListener("click", (event) => {
    const tab = event.target.closest("button");
    if (tab) {
      choose(tab.dataset.view, null);
      list.scrollTop = 0;
      select(0, true);
      store();
    }
  });
  byId("actions").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) decide(button.dataset.action);
  });
  choice.addEventListener("change", () => {
    if (choice.value !== "") decide("relabel");
    list.focus();
  });
  budget.addEventListener("input", () => choose(view, pair));
  budget.addEventListener("change", store);
  byId("export").addEventListener("click", download);
  list.addEventListener("scroll", draw, { passive: true });
  list.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (card) select(Number(card.dataset.place), false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if ("1234".includes(event.key)) decide(ACTIONS[Number(event.key) - 1]);
    else if (event.key === "0" || event.key === "Backspace") decide(null);
    else if (event.key in moves && event.target !== budget) select(current + moves[event.key], true);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(layout).observe(list);
  choose(view, null);
})();
