// Loaded before a server that can only listen on every interface: makes it listen on 127.0.0.1
// alone, and says where.

import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  this.once("listening", () => console.error(`listening on 127.0.0.1:${this.address().port}`));
  const called = rest.filter((one) => typeof one === "function");
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...called);
};
