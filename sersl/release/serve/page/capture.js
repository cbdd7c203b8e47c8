// Hands the samples of the microphone to the page, 0.25 s at a time.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 4);
    this.samples = new Float32Array(this.size);
    this.count = 0;
    this.port.onmessage = () => {
      this.port.postMessage({ samples: this.samples.slice(0, this.count), last: true });
      this.count = 0;
    };
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.samples[this.count++] = sum / channels.length;
      if (this.count === this.size) {
        this.port.postMessage({ samples: this.samples.slice(), last: false });
        this.count = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
