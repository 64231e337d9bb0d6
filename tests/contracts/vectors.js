// Golden EIP-712 vectors, shared with the Python side: tests/vectors/eip712.json. Integers inside a
// message are decimal strings there, because JSON numbers lose uint128. Written anew when
// RICOCHET_WRITE_VECTORS is set: see tests/hardhat_project.py.
import { readFile, writeFile } from "node:fs/promises";
import { expect } from "chai";
import { TYPES, UINT128_MAX, ethers, fixture, loadFixture, provider } from "./fixture.js";

const FILE = new URL("../vectors/eip712.json", import.meta.url);
const SESSION = [
  { name: "subscriber", type: "address" },
  { name: "clientPeer", type: "string" },
  { name: "nodePeer", type: "string" },
  { name: "expires", type: "uint64" },
];
const ATTESTATION = [
  { name: "operator", type: "address" },
  { name: "provider", type: "string" },
  { name: "document", type: "bytes32" },
  { name: "covers", type: "string" },
  { name: "expires", type: "uint64" },
];
// What the contract never sees: signed for peers only.
const FOR_PEERS = { Session: SESSION, Attestation: ATTESTATION };
const DOMAIN = {
  name: "Ricochet",
  version: "1",
  chainId: 31337,
  verifyingContract: ethers.getAddress("0x5bd0c0de5bd0c0de5bd0c0de5bd0c0de5bd0c0de"),
};

// The smallest and largest keys there are, and one between.
const KEYS = [
  ethers.toBeHex(1n, 32),
  "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140",
  ethers.id("ricochet golden vector"),
];
const NODE = ethers.getAddress("0x00000000000000000000000000000000000000a1");
const HIGH_NODE = ethers.getAddress("0xffffffffffffffffffffffffffffffffffffffff");
const PEERS = [
  "12D3KooWA768LzHMatxkjD1f9DrYW375GZJr6MHPCNEdDtHeTNRt",
  "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2",
];

const [low, high, middle] = KEYS.map(ethers.computeAddress);
const amounts = (subscriber, name) => [
  { subscriber, node: NODE, period: "1", [name]: "0" },
  { subscriber, node: NODE, period: "1", [name]: "50000" },
  { subscriber, node: HIGH_NODE, period: "4294967295", [name]: UINT128_MAX.toString() },
  { subscriber, node: ethers.ZeroAddress, period: "0", [name]: (2n ** 64n).toString() },
];
const CASES = [
  ...amounts(low, "total").map((message) => ["Reservation", KEYS[0], message]),
  ...amounts(high, "cumulative").map((message) => ["Voucher", KEYS[1], message]),
  // A delegate signs: the subscriber in the message is not the signer.
  ["Reservation", KEYS[2], { subscriber: low, node: NODE, period: "2", total: "10000000" }],
  ["Voucher", KEYS[2], { subscriber: low, node: NODE, period: "2", cumulative: "1000001" }],
  ["Session", KEYS[2], { subscriber: middle, clientPeer: PEERS[0], nodePeer: PEERS[1], expires: "1900000000" }],
  ["Session", KEYS[0], { subscriber: low, clientPeer: "", nodePeer: "pair é €", expires: (2n ** 64n - 1n).toString() }],
  ["Attestation", KEYS[0], {
    operator: low, provider: "openai", document: ethers.id("a letter"), covers: "resale of API access", expires: "1900000000",
  }],
  ["Attestation", KEYS[2], {
    operator: middle, provider: "api.example.com", document: ethers.ZeroHash, covers: "modèles é €", expires: "0",
  }],
];

function document() {
  const types = { ...TYPES, ...FOR_PEERS };
  const vectors = CASES.map(([type, privateKey, message]) => {
    const digest = ethers.TypedDataEncoder.hash(DOMAIN, { [type]: types[type] }, message);
    const { address: signer, signingKey } = new ethers.Wallet(privateKey);
    return { type, message, digest, privateKey, signer, signature: signingKey.sign(digest).serialized };
  });
  return { domain: DOMAIN, domainSeparator: ethers.TypedDataEncoder.hashDomain(DOMAIN), types, vectors };
}

/** The contract's code at the domain's address: its signing domain follows the address it runs at. */
async function atVectorAddress() {
  const { ricochet } = await fixture();
  await provider.request({
    method: "hardhat_setCode",
    params: [DOMAIN.verifyingContract, await ricochet.getDeployedCode()],
  });
  return ricochet.attach(DOMAIN.verifyingContract);
}

describe("golden EIP-712 vectors", () => {
  before(async () => {
    if (!process.env.RICOCHET_WRITE_VECTORS) return;
    await writeFile(FILE, JSON.stringify(document(), null, 2) + "\n");
  });

  it("are what ethers computes", async () => {
    expect(JSON.parse(await readFile(FILE, "utf8"))).to.deep.equal(document());
  });

  it("are what the contract computes", async () => {
    const { domain, vectors } = JSON.parse(await readFile(FILE, "utf8"));
    const ricochet = await loadFixture(atVectorAddress);
    const [, name, version, chainId, verifyingContract] = await ricochet.eip712Domain();
    expect({ name, version, chainId: Number(chainId), verifyingContract }).to.deep.equal(domain);
    for (const { type, message, digest } of vectors.filter(({ type }) => !(type in FOR_PEERS))) {
      expect(await ricochet[`hash${type}`](message), JSON.stringify(message)).to.equal(digest);
    }
  });
});
