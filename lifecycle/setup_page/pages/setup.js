"use strict";
// The page does without this. With it, what changes is shown without loading the page anew, and a
// file can be dropped anywhere.
(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const curtain = document.getElementById("dropping");
  if (!main || !main.dataset.status) return;

  const input = () => document.getElementById("certificate");
  const lively = () => {
    for (const hint of main.querySelectorAll(".only-script")) hint.hidden = false;
  };

  // What goes on elsewhere: asked for at the pace that the server names.
  let timer = 0, failures = 0;
  const plan = () => {
    clearTimeout(timer);
    const seconds = Number(main.dataset.refresh);
    if (seconds) timer = setTimeout(look, seconds * 1000 * Math.min(8, 2 ** failures));
  };
  const show = (news) => {
    const { activeElement: held } = document;
    const id = main.contains(held) && held !== main ? held.id : "";
    const before = document.getElementById("headline")?.textContent;
    const fresh = document.createElement("template");
    fresh.innerHTML = news.main;
    // The focus is moved below; a document that has one already takes autofocus amiss.
    for (const one of fresh.content.querySelectorAll("[autofocus]")) one.autofocus = false;
    main.replaceChildren(fresh.content);
    document.title = news.title;
    lively();
    const headline = document.getElementById("headline")?.textContent;
    (document.getElementById("found") ?? document.getElementById(id))?.focus();
    if (headline && headline !== before) live.textContent = headline;
  };
  const look = async () => {
    if (document.hidden) return plan();
    const query = new URLSearchParams({ version: main.dataset.version });
    if (main.dataset.attempt) query.set("attempt", main.dataset.attempt);
    try {
      const answer = await fetch(`${main.dataset.status}?${query}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      // Nothing may change under the hands of somebody who has chosen a file already.
      if (news.main !== null && !input()?.value) show(news);
      main.dataset.version = news.version;
      main.dataset.refresh = news.refresh ?? "";
      main.dataset.attempt = news.attempt ?? "";
      failures = 0;
    } catch {
      failures += 1;
    }
    plan();
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && main.dataset.refresh) look();
  });
  main.addEventListener("click", (event) => {
    // The download begins by itself; a moment later the first step is done.
    if (event.target.id === "download") setTimeout(look, 1500);
  });

  // Sending: once, and with a word about it.
  main.addEventListener("submit", (event) => {
    const button = event.target.querySelector("button");
    if (button) button.disabled = true;
    if (event.target.id === "upload") {
      button.textContent = main.dataset.sending;
      live.textContent = main.dataset.sending;
    }
  });
  addEventListener("pageshow", () => {
    for (const button of main.querySelectorAll("button[disabled]")) button.disabled = false;
  });

  // Dropping: anywhere, so that a near miss does not make the browser open the file instead.
  const carriesFile = (event) => Array.from(event.dataTransfer?.types ?? []).includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = input() ? "copy" : "none";
    if (input()) curtain.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) curtain.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    const target = input();
    if (!target || !event.dataTransfer.files.length) return;
    target.files = event.dataTransfer.files;
    target.form.requestSubmit();
  });

  lively();
  plan();
})();
