// Light, dark or what the system says. A classic script in the head, so that the choice holds before
// anything is painted; the button appears later.

(() => {
  const CHOICES = ["auto", "light", "dark"];
  const root = document.documentElement;
  let choice = "auto";
  try { choice = localStorage.getItem("lsr-theme") ?? "auto"; } catch { /* storage is off: auto */ }
  const apply = () => {
    if (choice === "light" || choice === "dark") root.dataset.theme = choice;
    else delete root.dataset.theme;
  };
  apply();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => {
      button.textContent = choice[0].toUpperCase() + choice.slice(1);
      button.setAttribute("aria-label", `Colours: ${choice}. Change`);
    };
    button.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try { localStorage.setItem("lsr-theme", choice); } catch { /* lasts as long as the page */ }
      apply();
      label();
    });
    label();
  });
})();
