// Shows what the device tells of its frames. All words are set as text, never as markup.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const say = (id, text) => { at(id).textContent = text; };
  const decibels = (value) => (value === null ? "no noise" : `${value.toFixed(1)} dB`);
  const show = (id, picture) => { at(id).src = `data:image/png;base64,${picture}`; };

  const stages = (milliseconds) => {
    const total = Object.values(milliseconds).reduce((sum, each) => sum + each, 0);
    const rows = Object.entries({ ...milliseconds, together: total }).map(([stage, spent]) => {
      const row = document.createElement("tr");
      const cells = [stage, spent.toFixed(1), ""].map((text, place) => {
        const cell = document.createElement(place ? "td" : "th");
        cell.textContent = text;
        return cell;
      });
      cells[0].scope = "row";
      cells[1].className = "n";
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.width = `${(100 * spent) / (total || 1)}%`;
      if (stage !== "together") cells[2].append(bar);
      row.append(...cells);
      return row;
    });
    at("stages").tBodies[0].replaceChildren(...rows);
  };

  const takes = {
    about: (told) => say("about", told.words),
    choice: (told) => {
      at("choice").hidden = told.policies.length < 2;
      at("pick").replaceChildren(...told.policies.map((policy) => new Option(policy, policy)));
      at("pick").value = told.picked;
    },
    frame: (told) => {
      show("original", told.original);
      show("merged", told.merged);
      say("tokens", told.tokens);
      say("patches", told.patches);
      say("number", told.number);
      say("policy", told.policy);
      say("counts", `${told.answered} answered, ${told.lost} lost or refused, ${told.dropped} dropped for newer ones`);
      say("answer", told.name ?? "no answer");
      say("probability", told.name === undefined ? told.refused : `${(100 * told.probability).toFixed(0)}%`);
      if (told.name === undefined) return;
      say("symbols", told.symbols);
      say("snr", decibels(told.snr_db));
      stages(told.milliseconds);
    },
    heard: (told) => {
      at("heard").hidden = at("listens").hidden = false;
      show("rebuilt", told.rebuilt);
      say("heard-number", told.number);
      say("attack", told.attack);
      say("her-snr", decibels(told.snr_db));
      say("score", told.score === null ? "not known" : told.score.toFixed(2));
    },
  };

  const state = (word, kind) => {
    say("state", word);
    at("state").className = `badge ${kind}`;
  };
  let socket;
  at("pick").onchange = (event) => socket.send(JSON.stringify({ policy: event.target.value }));
  const connect = () => {
    socket = new WebSocket(`ws://${location.host}/frames`);
    socket.onopen = () => state("live", "live");
    socket.onmessage = (event) => {
      const told = JSON.parse(event.data);
      takes[told.kind]?.(told);
    };
    socket.onclose = () => {
      state("the device is gone", "lost");
      setTimeout(connect, 1000);
    };
  };
  connect();
})();
