// What each call costs, as docs/gas.md tells it. Written anew when RICOCHET_WRITE_GAS is set: see
// tests/hardhat_project.py. The deployer is this suite's own, so that addresses, and with them the zero
// bytes that calldata is charged for, do not depend on which suites ran before.
import { readFile, writeFile } from "node:fs/promises";
import { expect } from "chai";
import {
  DELAY, FEE, LEAD, MAX_FEE, MIN_FEE, WINDOW, claim, ethers, loadFixture, networkHelpers, over, permit, reservation,
  reserve, subscribe, time, voucher,
} from "./fixture.js";

const FILE = new URL("../../docs/gas.md", import.meta.url);
const BATCH = 50;
const PEER = "12D3KooWA768LzHMatxkjD1f9DrYW375GZJr6MHPCNEdDtHeTNRt";
const ADDRESSES = ["/ip4/203.0.113.7/tcp/4001"];
const HEAD = `# Gas

Measured by \`tests/contracts/gas.js\` and held to the unit by the tests; \`python tests/hardhat_project.py
write-gas\` writes this page anew. *First* means that a storage slot is written for the first time;
otherwise all of a call's own slots held something before. Each row is a transaction of its own, except
that rows of a batch of ${BATCH} show the cost of one entry.

The reservation that is a node's first opens a storage slot, which costs 22,100 and is what makes the
claims after it cheap. Every entry reads each slot of its own once, and a period's mappings lie in the
subscriber's entry, so that their keys are hashed once. The compiler's IR pipeline would save another
1,000 to 2,500 in the rows of reserve and claim, and make each test run's builds 30 s longer.

| call | gas | target |
|---|--:|--:|
`;

/** A contract of this suite's own, with alice subscribed and the treasury having earned. */
async function world() {
  const deployer = await funded("deployer");
  const apart = await over("TestUSD", deployer);
  const unused = await over("TestUSD", deployer);
  await claimAll(await subscribe(apart), [await voucher(apart, 10n, { node: apart.other })]);
  return { ...apart, end: (await apart.ricochet.periodOf(apart.alice, 1)).end, unused };
}

/** An account with ether, the same in every run. */
async function funded(name) {
  const wallet = new ethers.Wallet(ethers.id(`ricochet gas ${name}`), ethers.provider);
  await networkHelpers.setBalance(wallet.address, 10n ** 20n);
  return wallet;
}

/** As `world`, for another subscriber, who signs himself. */
async function subscriber(base, name) {
  const alice = await funded(name);
  await base.usd.mint(alice, 10n * FEE);
  await base.usd.connect(alice).approve(base.ricochet, ethers.MaxUint256);
  await base.ricochet.connect(alice).subscribe(FEE, alice, false);
  return { ...base, alice, delegate: alice };
}

function claimAll(base, signed) {
  return claim(base, ...signed);
}

async function cost(sent) {
  return (await (await sent).wait()).gasUsed;
}

/** [call, gas, most] for everything that the table shows. */
async function measure() {
  const base = await loadFixture(world);
  const { ricochet, usd, alice, delegate, node, other, payout, relayer, treasury, end, unused } = base;
  const rows = [];
  const row = async (call, sent, most, entries = 1n) => rows.push([call, (await cost(sent)) / BigInt(entries), most]);

  const fresh = unused.ricochet.connect(alice);
  const signed = await permit(unused);
  await row("`subscribeWithPermit`, first", fresh.subscribeWithPermit(FEE, delegate, true, ...signed));
  const bob = await funded("bob");
  await usd.mint(bob, 10n * FEE);
  await usd.connect(bob).approve(ricochet, ethers.MaxUint256);
  await row("`subscribe`, first", ricochet.connect(bob).subscribe(FEE, delegate, true), 160_000n);
  await row("`topUp`", ricochet.connect(alice).topUp(1_000_000n));
  await row("`setDelegate`, first replacement", ricochet.connect(alice).setDelegate(other));
  await ricochet.connect(alice).setDelegate(delegate);
  await row("`setAutoRenew`", ricochet.connect(alice).setAutoRenew(true));

  await row("`reserve`, first of a node", reserve(base, await reservation(base, 50_000n)), 65_000n);
  await row("`reserve`, raised", reserve(base, await reservation(base, 100_000n)), 65_000n);
  await row("`claim`, first of a node, within its commitment", claim(base, await voucher(base, 10_000n)));
  await row("`claim`, within the commitment", claim(base, await voucher(base, 20_000n)), 75_000n);
  await row("`claim`, beyond the commitment", claim(base, await voucher(base, 200_000n)), 75_000n);

  const crowd = [];
  for (let i = 0; i < BATCH; ++i) crowd.push(await subscriber(base, `subscriber ${i}`));
  const each = (sign, amount) => Promise.all(crowd.map((one) => sign(one, amount)));
  await row(`\`reserve\`, first of a node, of ${BATCH} subscribers`, reserve(base, ...(await each(reservation, 50_000n))), undefined, BATCH);
  await row(`\`claim\`, within commitments, of ${BATCH} subscribers`, claim(base, ...(await each(voucher, 40_000n))), 35_000n, BATCH);
  await row(`\`claim\`, beyond commitments, of ${BATCH} subscribers`, claim(base, ...(await each(voucher, 60_000n))), 35_000n, BATCH);

  await row("`registerNode`, first", ricochet.connect(relayer).registerNode(PEER, ADDRESSES, payout));
  await row("`updateNode`", ricochet.connect(relayer).updateNode(PEER, ADDRESSES));
  await row("`queuePayout`", ricochet.connect(node).queuePayout(relayer));
  await row("`cancelPayout`", ricochet.connect(payout).cancelPayout(node));
  await ricochet.connect(node).queuePayout(relayer);
  await time.increase(DELAY);
  await row("`applyPayout`", ricochet.applyPayout(node));
  await ricochet.withdraw(treasury);
  await row("`withdraw`", ricochet.withdraw(node));

  await time.increaseTo(end - LEAD);
  await row("`renew`", ricochet.renew(alice));
  await time.increaseTo(end + WINDOW);
  await row("`close`", ricochet.close(alice, 1));
  await row("`refund`", ricochet.connect(alice).refund());
  return rows;
}

function page(rows) {
  const shown = (gas) => gas?.toLocaleString("en-US") ?? "";
  return HEAD + rows.map(([call, gas, most]) => `| ${call} | ${shown(gas)} | ${shown(most)} |\n`).join("");
}

describe("gas", () => {
  let rows;

  before(async () => {
    rows = await measure();
    if (process.env.RICOCHET_WRITE_GAS) await writeFile(FILE, page(rows));
  });

  it("is what the documentation says, to the unit", async () => {
    expect(await readFile(FILE, "utf8")).to.equal(page(rows));
  });

  it("is within its targets", () => {
    for (const [call, gas, most] of rows) if (most) expect(gas, call).to.be.at.most(most);
  });
});
