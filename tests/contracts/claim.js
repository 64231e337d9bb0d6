import { expect } from "chai";
import {
  FEE, SKIP, UINT128_MAX, WINDOW, at, claim, ethers, loadFixture, reservation, reserve, subscribed, time, voucher,
} from "./fixture.js";

/** Expects the only event of a batch to be this entry's skip, with nothing paid or committed. */
async function expectSkipped(world, sent, reason, { node = world.node, period = 1n } = {}) {
  const { ricochet, alice } = world;
  await expect(sent).to.emit(ricochet, "VoucherSkipped").withArgs(alice.address, node.address, period, SKIP[reason]);
  await expect(sent).not.to.emit(ricochet, "Claimed");
  await expect(sent).not.to.emit(ricochet, "Reserved");
}

describe("claim", () => {
  it("pays 70 % to the operator and the rest to the treasury", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, node, treasury } = world;
    await expect(claim(world, await voucher(world, 1_000_001n)))
      .to.emit(ricochet, "Claimed")
      .withArgs(alice.address, node.address, 1n, 1_000_001n, 700_000n, 300_001n);
    expect(await ricochet.withdrawable(node)).to.equal(700_000n);
    expect(await ricochet.withdrawable(treasury)).to.equal(300_001n);
    const { budget, committed, paid } = await ricochet.periodOf(alice, 1);
    expect([budget, committed, paid]).to.deep.equal([FEE, 1_000_001n, 1_000_001n]);
    expect(await ricochet.liabilities()).to.equal(FEE);
  });

  it("takes the subscriber's own signature", async () => {
    const world = await loadFixture(subscribed);
    await claim(world, await voucher(world, 10n, { signer: world.alice }));
    expect(await world.ricochet.withdrawable(world.node)).to.equal(7n);
  });

  it("commits what it needs from the free budget, and says so", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, 40_000n));
    const within = claim(world, await voucher(world, 40_000n));
    await expect(within).not.to.emit(world.ricochet, "Reserved");
    await expect(claim(world, await voucher(world, 65_000n)))
      .to.emit(world.ricochet, "Reserved")
      .withArgs(world.alice.address, world.node.address, 1n, 65_000n);
    expect(await world.ricochet.accountOf(world.alice, 1, world.node)).to.deep.equal([65_000n, 65_000n]);
  });

  it("pays the same in one claim as in many", async () => {
    const world = await loadFixture(subscribed);
    for (const cumulative of [1n, 2n, 3n, 9n, 10n, 33n]) await claim(world, await voucher(world, cumulative));
    await claim(world, await voucher(world, 33n, { node: world.other }));
    expect(await world.ricochet.withdrawable(world.node)).to.equal(23n);
    expect(await world.ricochet.withdrawable(world.other)).to.equal(23n);
  });

  it("pays in part when the budget runs out, and the rest after a top-up", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, node, other } = world;
    await reserve(world, await reservation(world, FEE - 100n, { node: other }));
    const signed = await voucher(world, 1_000n);
    await expect(claim(world, signed)).to.emit(ricochet, "Claimed")
      .withArgs(alice.address, node.address, 1n, 100n, 70n, 30n);
    await expectSkipped(world, claim(world, signed), "NothingPayable");
    await ricochet.connect(alice).topUp(10_000n);
    await expect(claim(world, signed)).to.emit(ricochet, "Claimed")
      .withArgs(alice.address, node.address, 1n, 1_000n, 630n, 270n);
  });

  it("never touches what is committed to another node", async () => {
    const world = await loadFixture(subscribed);
    await reserve(world, await reservation(world, FEE));
    await expectSkipped(world, claim(world, await voucher(world, FEE, { node: world.other })), "NothingPayable", {
      node: world.other,
    });
    await claim(world, await voucher(world, FEE));
    expect(await world.ricochet.withdrawable(world.node)).to.equal((FEE * 7n) / 10n);
  });

  it("clips an enormous voucher to the budget", async () => {
    const world = await loadFixture(subscribed);
    await claim(world, await voucher(world, UINT128_MAX));
    const { committed, paid } = await world.ricochet.periodOf(world.alice, 1);
    expect([committed, paid]).to.deep.equal([FEE, FEE]);
  });

  it("skips replays and older vouchers", async () => {
    const world = await loadFixture(subscribed);
    const signed = await voucher(world, 50n);
    await claim(world, signed);
    await expectSkipped(world, claim(world, signed), "NotRaised");
    await expectSkipped(world, claim(world, await voucher(world, 49n)), "NotRaised");
    await expectSkipped(world, claim(world, await voucher(world, 0n, { node: world.other })), "NotRaised", {
      node: world.other,
    });
  });

  it("skips a period that was never opened", async () => {
    const world = await loadFixture(subscribed);
    for (const period of [0n, 2n]) {
      await expectSkipped(world, claim(world, await voucher(world, 1n, { period })), "NoPeriod", { period });
    }
  });

  it("works after the end, until the second the window ends", async () => {
    const world = await loadFixture(subscribed);
    const [last, late] = [await voucher(world, 10n), await voucher(world, 20n)];
    await at(world.end + WINDOW - 1n);
    await claim(world, last);
    expect(await world.ricochet.withdrawable(world.node)).to.equal(7n);
    await at(world.end + WINDOW);
    await expectSkipped(world, claim(world, late), "WindowEnded");
    await world.ricochet.close(world.alice, 1);
    await expectSkipped(world, claim(world, late), "WindowEnded");
  });

  it("skips a node nobody registered", async () => {
    const world = await loadFixture(subscribed);
    const signed = await voucher(world, 10n, { node: world.relayer });
    await expectSkipped(world, claim(world, signed), "NodeUnknown", { node: world.relayer });
    await world.ricochet.connect(world.relayer).registerNode("late", [], world.payout);
    await claim(world, signed);
    expect(await world.ricochet.withdrawable(world.relayer)).to.equal(7n);
  });

  it("skips what nobody entitled signed", async () => {
    const world = await loadFixture(subscribed);
    const { entry, signature } = await voucher(world, 1_000n);
    const forged = [
      (await voucher(world, 1_000n, { signer: world.node })).signature,
      (await voucher(world, 1_000n, { signer: world.treasury })).signature,
      (await reservation(world, 1_000n)).signature,
      "0x",
      "0x" + "00".repeat(65),
    ];
    for (const bad of forged) await expectSkipped(world, claim(world, { entry, signature: bad }), "BadSignature");
    const more = { ...entry, cumulative: 1_001n };
    await expectSkipped(world, claim(world, { entry: more, signature }), "BadSignature");
  });

  it("skips what was signed for another network, or another contract", async () => {
    const world = await loadFixture(subscribed);
    const { domain, ricochet, node } = world;
    for (const elsewhere of [{ chainId: 1n }, { verifyingContract: node.address }, { version: "2" }, { name: "ricochet" }]) {
      const foreign = await voucher({ ...world, domain: { ...domain, ...elsewhere } }, 10n);
      await expectSkipped(world, claim(world, foreign), "BadSignature");
    }
    expect(await ricochet.withdrawable(node)).to.equal(0n);
  });

  it("takes no word from a wallet that is a contract, but from its delegate", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, delegate, node, other } = world;
    const wallet = await ethers.deployContract("Wallet");
    await usd.mint(wallet, FEE);
    const act = async (target, name, args) =>
      wallet.execute(target, target.interface.encodeFunctionData(name, args));
    await act(usd, "approve", [await ricochet.getAddress(), FEE]);
    await act(ricochet, "subscribe", [FEE, delegate.address, false]);
    const apart = { ...world, alice: { address: await wallet.getAddress() } };
    const own = { ...(await voucher(apart, 10n)), signature: "0x1271" };
    const sent = claim(apart, own, await voucher(world, 10n, { node: other }), await voucher(apart, 20n));
    await expect(sent).to.emit(ricochet, "VoucherSkipped")
      .withArgs(apart.alice.address, node.address, 1n, SKIP.BadSignature);
    expect((await ricochet.accountOf(wallet, 1, node)).claimed).to.equal(20n);
    expect(await ricochet.withdrawable(other)).to.equal(7n);
  });

  it("refuses an amount that no voucher can hold", async () => {
    const world = await loadFixture(subscribed);
    const { entry, signature } = await voucher(world, UINT128_MAX);
    const data = world.ricochet.interface.encodeFunctionData("claim", [[entry], [signature]]);
    const wide = data.replace("0".repeat(32) + "f".repeat(32), "0".repeat(31) + "1" + "0".repeat(32));
    expect(wide).not.to.equal(data);
    await expect(world.relayer.sendTransaction({ to: world.ricochet, data: wide })).to.be.revertedWithoutReason(ethers);
  });

  it("keeps the good entries of a batch with bad ones", async () => {
    const world = await loadFixture(subscribed);
    const bad = await voucher(world, 10n, { signer: world.relayer });
    const [good, better] = [await voucher(world, 20n), await voucher(world, 30n)];
    await claim(world, bad, better, good, await voucher(world, 40n, { node: world.other }));
    expect(await world.ricochet.withdrawable(world.node)).to.equal(21n);
    expect(await world.ricochet.withdrawable(world.other)).to.equal(28n);
    expect(await world.ricochet.withdrawable(world.treasury)).to.equal(21n);
  });

  it("needs one signature for each entry", async () => {
    const { ricochet } = await loadFixture(subscribed);
    await expect(ricochet.claim([], ["0x", "0x"]))
      .to.be.revertedWithCustomError(ricochet, "LengthMismatch")
      .withArgs(0n, 2n);
  });

  it("keeps a period's own delegate after another is named", async () => {
    const world = await loadFixture(subscribed);
    await time.increaseTo(world.end);
    await world.ricochet.connect(world.alice).subscribe(FEE, world.relayer, false);
    await claim(world, await voucher(world, 10n));
    expect(await world.ricochet.withdrawable(world.node)).to.equal(7n);
    await claim(world, await voucher(world, 20n, { signer: world.relayer }));
    expect(await world.ricochet.withdrawable(world.node)).to.equal(14n);
  });

  it("pays a treasury that operates a node both parts, to the payout it registered", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, treasury, usd, payout } = world;
    await ricochet.connect(treasury).registerNode("house", [], payout);
    await claim(world, await voucher(world, 10n, { node: treasury }));
    expect(await ricochet.withdrawable(treasury)).to.equal(10n);
    await expect(ricochet.withdraw(treasury)).to.changeTokenBalances(ethers, usd, [treasury, payout], [0n, 10n]);
  });
});
