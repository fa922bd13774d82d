"use strict";
(() => {
  const summary = document.getElementById("summary"), about = document.getElementById("about");
  const bodies = [...summary.tBodies], original = bodies.map(body => [...body.rows]);
  const measures = [...summary.querySelectorAll("th.measure")];

  // what a link leads to may lie in a part that is folded; on paper nothing is
  const folds = [...document.querySelectorAll("details.fold")];
  const reveal = () => {
    const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!place) return;
    folds.filter(each => each.contains(place) || each.parentElement === place).forEach(each => { each.open = true; });
    place.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();
  window.addEventListener("beforeprint", () => folds.forEach(each => { each.open = true; }));

  // one table: sort the runs of each direction, what they are held against stays below
  const key = (row, column) => {
    const cell = row.cells[column];
    if (column === 1) return cell.dataset.share ? -Number(cell.dataset.share) : Infinity;
    const far = cell.dataset.far, off = cell.dataset.off;
    return far ? Number(far) + Math.min(Number(off || 0), 1e9) * 1e-12 : off ? Number(off) * 1e-12 : Infinity;
  };
  const sort = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    summary.querySelectorAll("[aria-sort]").forEach(each => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    bodies.forEach((body, which) => {
      const rows = original[which].slice(1).filter(row => !row.classList.contains("fixed"));
      const order = new Map(rows.map((row, place) => [row, column === 0 ? place : key(row, column)]));
      rows.sort((a, b) => {
        const x = order.get(a), y = order.get(b);
        return x === y ? 0 : x === Infinity ? 1 : y === Infinity ? -1 : (x < y ? -1 : 1) * (down ? -1 : 1);
      });
      let after = body.rows[0];
      rows.forEach(row => { after.after(row); after = row; });
    });
  };
  [...summary.tHead.rows[1].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button"; button.className = "sort"; button.textContent = "↕";
    const words = head.dataset.title || head.textContent.trim();
    button.setAttribute("aria-label", column ? "sort the runs by " + words : "the runs in their first order");
    button.addEventListener("click", () => sort(head, column));
    (head.querySelector("div") || head).append(button);
  });

  // what a cell says, in a line that fingers find too
  const dash = text => text === undefined || text === "" ? "–" : text;
  const say = cell => {
    const head = measures[cell.cellIndex - 2], row = cell.parentElement;
    const unit = head.dataset.unit ? " " + head.dataset.unit : "";
    const floor = [...row.parentElement.rows].find(each => each.dataset.row === "floor");
    const real = floor && floor.cells[cell.cellIndex].dataset;
    const range = of => dash(of.value) + unit + " (" + dash(of.low) + " to " + dash(of.high) + ")";
    return row.dataset.row + ", " + head.dataset.title + ": " + (dash(cell.dataset.value) === "–" ? "not measured"
      : range(cell.dataset) + (real && real.value !== undefined && row !== floor ? "; floor " + range(real) : "")
        + "; perfect " + head.dataset.perfect
        + (cell.dataset.far && row !== floor ? "; " + cell.dataset.distance + " half widths of the interval from the floor" : ""));
  };
  const look = event => {
    const cell = event.target.closest("td.cell");
    if (!cell) return;
    summary.querySelectorAll(".looked").forEach(each => each.classList.remove("looked"));
    cell.classList.add("looked");
    cell.title = about.textContent = say(cell);
  };
  summary.addEventListener("mouseover", look);
  summary.addEventListener("click", look);

  // colours only, or numbers too; all sections, or one
  const numbers = document.getElementById("with-numbers"), section = document.getElementById("which-section");
  const show = () => {
    summary.classList.toggle("compact", !numbers.checked);
    summary.querySelectorAll("[data-group]").forEach(each =>
      each.classList.toggle("away", section.value !== "" && each.dataset.group !== section.value));
  };
  numbers.addEventListener("change", show);
  section.addEventListener("change", () => { numbers.checked = section.value !== ""; show(); });
  show();
  document.querySelectorAll("#overview .tools, #about").forEach(each => { each.hidden = false; });

  // galleries: the best, the median and the worst galaxy by a measure, or all that are here in its order
  const galleries = [...document.querySelectorAll(".gallery")].map(gallery => {
    const by = gallery.querySelector(".by"), all = gallery.querySelector(".all"), worst = gallery.querySelector(".worst");
    const cards = [...gallery.querySelectorAll(".card")].map(card => ({card, ranks: JSON.parse(card.dataset.ranks)}));
    const counts = JSON.parse(gallery.dataset.counts), holder = gallery.querySelector(".cards");
    const order = () => {
      const count = counts[by.value], name = by.selectedOptions[0].textContent;
      const words = {[count]: "Worst", [Math.floor(count / 2) + 1]: "Median", 1: "Best"};
      const place = each => each.ranks[by.value] ? each.ranks[by.value][0] : Infinity;
      cards.sort((a, b) => {
        const x = place(a), y = place(b);
        return x === y ? 0 : x === Infinity ? 1 : y === Infinity ? -1 : (x - y) * (worst.checked ? -1 : 1);
      });
      cards.forEach(each => {
        const rank = place(each);
        each.card.hidden = !all.checked && !(rank in words);
        each.card.querySelector(".role").textContent = (words[rank] || "") + (rank in words ? " by " + name + "." : "");
        each.card.querySelector(".rank").textContent = rank === Infinity ? "Not measured."
          : "Rank " + rank + " of " + count + "; " + each.ranks[by.value][1] + " from perfect.";
        holder.append(each.card);
      });
    };
    if (by) {
      [by, all, worst].forEach(each => each.addEventListener("change", order));
      gallery.querySelector(".tools").hidden = false;
      gallery.classList.add("chosen");
      order();
    }
    return {by, order};
  });
  document.querySelectorAll(".to-gallery a").forEach(link => link.addEventListener("click", () => galleries.forEach(each => {
    if (each.by && [...each.by.options].some(option => option.value === link.dataset.by)) {
      each.by.value = link.dataset.by;
      each.order();
    }
  })));
})();
