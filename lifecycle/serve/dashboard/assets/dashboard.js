"use strict";
// Nothing here is needed: every page works without it.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    // After the submission has been made up, so that a button's own value goes with it.
    setTimeout(() => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    });
  });
}
// A page that comes back from the browser's memory has its buttons as they were left.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form[data-once] button")) button.disabled = false;
});
for (const select of document.querySelectorAll("form.filters[method=get] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
