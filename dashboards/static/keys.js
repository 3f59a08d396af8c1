// Keys for people who review all day; everything works without them.
const links = [...document.querySelectorAll("a.open")];
const help = document.getElementById("key-help");

function move(step) {
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next]?.focus();
}

const actions = {
  j: () => move(1),
  k: () => move(-1),
  f: () => document.getElementById("fraud")?.focus(),
  l: () => document.getElementById("legitimate")?.focus(),
  q: () => { location.href = "/"; },
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});
