// npm oidc-provider: client_credentials with JWT access tokens for a resource, its in-memory adapter, one client.
// node oidc_provider.mjs <port> <RS256|ES256> <client id> <client secret>
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [port, alg, clientId, clientSecret] = process.argv.slice(2);
const pair =
  alg === "RS256"
    ? generateKeyPairSync("rsa", { modulusLength: 2048 })
    : generateKeyPairSync("ec", { namedCurve: "P-256" });
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: clientId,
      client_secret: clientSecret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      // The ID tokens that it would get, if it got any.
      id_token_signed_response_alg: alg,
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => issuer,
      getResourceServerInfo: () => ({
        scope: "flags:evaluate",
        audience: issuer,
        accessTokenTTL: 600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg } },
      }),
    },
  },
  jwks: { keys: [{ ...pair.privateKey.export({ format: "jwk" }), kid: "one", alg, use: "sig" }] },
});
provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1");
