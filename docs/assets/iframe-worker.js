// Search runs in a worker, which browsers refuse to pages that are opened as files: there a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html>";
      frame.addEventListener("load", () => this.start(frame.contentWindow, script), { once: true });
      document.body.append(frame);
    }

    start(inner, script) {
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const element = inner.document.createElement("script");
      element.src = script;
      element.addEventListener("load", () => {
        this.inner = inner;
        this.waiting.forEach((data) => this.postMessage(data));
        this.waiting = [];
      });
      inner.document.head.append(element);
    }

    postMessage(data) {
      if (this.inner) this.inner.dispatchEvent(new MessageEvent("message", { data }));
      else this.waiting.push(data);
    }
  };
}
