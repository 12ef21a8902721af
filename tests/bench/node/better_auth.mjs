// npm better-auth with its api-key plugin: verifyApiKey behind a bare HTTP server, the limit of each key off.
// node better_auth.mjs <port> <memory|sqlite>; prints a key that is good.
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { getMigrations } from "better-auth/db/migration";

const [port, storage] = process.argv.slice(2);
const options = {
  secret: "only-for-benchmarks-0123456789abcdef0123456789abcdef",
  baseURL: `http://127.0.0.1:${port}`,
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  logger: { disabled: true },
  database:
    storage === "sqlite"
      ? new DatabaseSync(":memory:")
      : memoryAdapter({ user: [], session: [], account: [], verification: [], apikey: [] }),
  plugins: [apiKey({ rateLimit: { enabled: false }, deferUpdates: true })],
};
if (storage === "sqlite") await (await getMigrations(options)).runMigrations();
const auth = betterAuth(options);
const signedUp = await auth.api.signUpEmail({
  body: { email: "ada@example.com", password: "a quiet vault of stone", name: "Ada" },
});
const made = await auth.api.createApiKey({ body: { name: "bench", userId: signedUp.user.id } });
console.log(made.key);

createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", async () => {
    const told = await auth.api.verifyApiKey({ body: { key: JSON.parse(body).secret } });
    response.writeHead(told.valid ? 200 : 404, { "Content-Type": "application/json" });
    response.end(JSON.stringify(told));
  });
}).listen(Number(port), "127.0.0.1");
