// The SharedWorker that owns the one stream of all tabs. A tab sends the topics that it shows, and gets every frame.
/// <reference lib="webworker" />
import { StreamOwner, type FromTab } from "./data/stream_owner";

const owner = new StreamOwner();
(self as unknown as SharedWorkerGlobalScope).onconnect = (event) => {
  const port = event.ports[0]!;
  const send = (message: unknown) => port.postMessage(message);
  port.onmessage = (message: MessageEvent<FromTab>) => owner.receive(send, message.data);
  port.start();
};
