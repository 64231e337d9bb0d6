import { expect } from "chai";
import {
  FEE, SKIP, UINT128_MAX, at, claim, ethers, loadFixture, reservation, reserve, subscribed, time, voucher,
} from "./fixture.js";

/** Expects the only event of a batch to be this entry's skip, with nothing committed. */
async function expectSkipped(world, sent, reason, { node = world.node, period = 1n } = {}) {
  await expect(sent)
    .to.emit(world.ricochet, "ReservationSkipped")
    .withArgs(world.alice.address, node.address, period, SKIP[reason]);
  await expect(sent).not.to.emit(world.ricochet, "Reserved");
}

describe("reserve", () => {
  it("commits budget to a node on the delegate's signature", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, node } = world;
    await expect(reserve(world, await reservation(world, 50_000n)))
      .to.emit(ricochet, "Reserved")
      .withArgs(alice.address, node.address, 1n, 50_000n);
    expect(await ricochet.accountOf(alice, 1, node)).to.deep.equal([50_000n, 0n]);
    expect((await ricochet.periodOf(alice, 1)).committed).to.equal(50_000n);
    expect(await ricochet.liabilities()).to.equal(FEE);
  });

  it("takes the subscriber's own signature", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, 1n, { signer: world.alice }));
    expect((await world.ricochet.accountOf(world.alice, 1, world.node)).committed).to.equal(1n);
  });

  it("raises to the total, not by it", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, 50_000n), await reservation(world, 70_000n));
    await reserve(world, await reservation(world, 30_000n, { node: world.other }));
    expect((await world.ricochet.accountOf(world.alice, 1, world.node)).committed).to.equal(70_000n);
    expect((await world.ricochet.periodOf(world.alice, 1)).committed).to.equal(100_000n);
  });

  it("commits the whole budget, to the unit, and nothing beyond", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, FEE - 1n));
    const beyond = await reservation(world, 2n, { node: world.other });
    await expectSkipped(world, reserve(world, beyond), "BudgetExceeded", { node: world.other });
    await reserve(world, await reservation(world, 1n, { node: world.other }));
    expect((await world.ricochet.periodOf(world.alice, 1)).committed).to.equal(FEE);
    const enormous = await reservation(world, UINT128_MAX);
    await expectSkipped(world, reserve(world, enormous), "BudgetExceeded");
  });

  it("takes a reservation that a top-up made affordable", async () => {
    const world = await loadFixture(subscribed);
    const early = await reservation(world, FEE + 1n);
    await expectSkipped(world, reserve(world, early), "BudgetExceeded");
    await world.ricochet.connect(world.alice).topUp(1n);
    await reserve(world, early);
    expect((await world.ricochet.accountOf(world.alice, 1, world.node)).committed).to.equal(FEE + 1n);
  });

  it("skips replays and older totals", async () => {
    const world = await loadFixture(subscribed);
    const signed = await reservation(world, 50_000n);
    await reserve(world, signed);
    await expectSkipped(world, reserve(world, signed), "NotRaised");
    await expectSkipped(world, reserve(world, await reservation(world, 49_999n)), "NotRaised");
    await expectSkipped(world, reserve(world, await reservation(world, 0n, { node: world.other })), "NotRaised", {
      node: world.other,
    });
  });

  it("skips a period that was never opened", async () => {
    const world = await loadFixture(subscribed);
    for (const period of [0n, 2n]) {
      await expectSkipped(world, reserve(world, await reservation(world, 1n, { period })), "NoPeriod", { period });
    }
  });

  it("works until the second the period ends", async () => {
    const world = await loadFixture(subscribed);
    const [last, late] = [await reservation(world, 1n), await reservation(world, 2n)];
    await at(world.end - 1n);
    await reserve(world, last);
    await at(world.end);
    await expectSkipped(world, reserve(world, late), "PeriodEnded");
  });

  it("skips what nobody entitled signed", async () => {
    const world = await loadFixture(subscribed);
    const { entry, signature } = await reservation(world, 1_000n);
    const forged = [
      (await reservation(world, 1_000n, { signer: world.node })).signature,
      (await voucher(world, 1_000n)).signature,
      "0x",
      signature.slice(0, -2),
      signature + "00",
      "0x" + "00".repeat(65),
      "0x" + "ff".repeat(65),
      mirrored(signature),
    ];
    for (const bad of forged) {
      await expectSkipped(world, reserve(world, { entry, signature: bad }), "BadSignature");
    }
    const other = { ...entry, node: world.other.address };
    await expectSkipped(world, reserve(world, { entry: other, signature }), "BadSignature", { node: world.other });
  });

  it("skips what was signed for another network, or another contract", async () => {
    const world = await loadFixture(subscribed);
    for (const elsewhere of [{ chainId: 1n }, { verifyingContract: world.node.address }]) {
      const foreign = await reservation({ ...world, domain: { ...world.domain, ...elsewhere } }, 10n);
      await expectSkipped(world, reserve(world, foreign), "BadSignature");
    }
  });

  it("skips what another subscriber, or his delegate, signed", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, node, other, relayer } = world;
    await usd.mint(other, FEE);
    await usd.connect(other).approve(ricochet, FEE);
    await ricochet.connect(other).subscribe(FEE, relayer, false);
    for (const signer of [other, relayer]) {
      await expectSkipped(world, reserve(world, await reservation(world, 10n, { signer })), "BadSignature");
    }
    await reserve({ ...world, alice: other }, await reservation({ ...world, alice: other }, 10n, { signer: relayer }));
    expect((await ricochet.accountOf(other, 1, node)).committed).to.equal(10n);
  });

  it("keeps the good entries of a batch with bad ones", async () => {
    const world = await loadFixture(subscribed);
    const bad = await reservation(world, 10n, { signer: world.relayer });
    const good = await reservation(world, 20n);
    await reserve(world, bad, good, bad, await reservation(world, 30n, { node: world.other }));
    expect((await world.ricochet.accountOf(world.alice, 1, world.node)).committed).to.equal(20n);
    expect((await world.ricochet.accountOf(world.alice, 1, world.other)).committed).to.equal(30n);
  });

  it("needs one signature for each entry", async () => {
    const { ricochet } = await loadFixture(subscribed);
    await expect(ricochet.reserve([], ["0x"])).to.be.revertedWithCustomError(ricochet, "LengthMismatch").withArgs(0n, 1n);
    await ricochet.reserve([], []);
  });

  it("counts what claims committed", async () => {
    const world = await loadFixture(subscribed);
    await claim(world, await voucher(world, 60_000n));
    await expectSkipped(world, reserve(world, await reservation(world, 60_000n)), "NotRaised");
    await reserve(world, await reservation(world, 90_000n));
    expect(await world.ricochet.accountOf(world.alice, 1, world.node)).to.deep.equal([90_000n, 60_000n]);
    expect((await world.ricochet.periodOf(world.alice, 1)).committed).to.equal(90_000n);
  });

  it("holds for a node that has not registered yet", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, 5n, { node: world.relayer }));
    expect((await world.ricochet.accountOf(world.alice, 1, world.relayer)).committed).to.equal(5n);
  });

  it("refuses a former delegate in a new period", async () => {
    const world = await loadFixture(subscribed);
    await time.increaseTo(world.end);
    await world.ricochet.connect(world.alice).subscribe(FEE, world.other, false);
    const stale = await reservation(world, 5n, { period: 2n });
    await expectSkipped(world, reserve(world, stale), "BadSignature", { period: 2n });
    await reserve(world, await reservation(world, 5n, { period: 2n, signer: world.other }));
    expect((await world.ricochet.accountOf(world.alice, 2, world.node)).committed).to.equal(5n);
  });
});

/** The other signature that recovers to the same signer, which must not count as a second one. */
function mirrored(signature) {
  const { r, s, yParity } = ethers.Signature.from(signature);
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const high = ethers.toBeHex(order - BigInt(s), 32);
  return ethers.concat([r, high, yParity === 0 ? "0x1c" : "0x1b"]);
}
