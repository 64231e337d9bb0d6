import { expect } from "chai";
import { DELAY, at, claim, ethers, loadFixture, subscribed, time, voucher } from "./fixture.js";

/** As `subscribed`, with `relayer` queued as the node's payout and due at `due`. */
async function queued() {
  const world = await subscribed();
  await world.ricochet.connect(world.node).queuePayout(world.relayer);
  return { ...world, due: BigInt(await time.latest()) + DELAY };
}

describe("applyPayout", () => {
  it("puts the queued payout into force, whoever calls, for earlier income too", async () => {
    const world = await loadFixture(queued);
    const { ricochet, usd, node, other, payout, relayer, due } = world;
    await claim(world, await voucher(world, 10n));
    await at(due);
    await expect(ricochet.connect(other).applyPayout(node))
      .to.emit(ricochet, "NodeRegistered")
      .withArgs(node.address, "12D3KooWNode", [], relayer.address);
    expect(await ricochet.nodeOf(node)).to.deep.equal(["12D3KooWNode", [], relayer.address, ethers.ZeroAddress, 0n]);
    await expect(ricochet.withdraw(node)).to.changeTokenBalances(ethers, usd, [payout, relayer], [0n, 7n]);
  });

  it("waits for the second the delay ends", async () => {
    const { ricochet, node, due } = await loadFixture(queued);
    await at(due - 1n);
    await expect(ricochet.applyPayout(node))
      .to.be.revertedWithCustomError(ricochet, "PayoutNotDue")
      .withArgs(due, due - 1n);
  });

  it("happens once, and moves the veto to the new payout", async () => {
    const { ricochet, node, other, payout, relayer, due } = await loadFixture(queued);
    await at(due);
    await ricochet.applyPayout(node);
    await expect(ricochet.applyPayout(node))
      .to.be.revertedWithCustomError(ricochet, "NoPayoutQueued")
      .withArgs(node.address);
    await ricochet.connect(node).queuePayout(other);
    await expect(ricochet.connect(payout).cancelPayout(node)).to.be.revertedWithCustomError(ricochet, "NoVeto");
    await ricochet.connect(relayer).cancelPayout(node);
  });

  it("needs something queued", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    await expect(ricochet.applyPayout(alice))
      .to.be.revertedWithCustomError(ricochet, "NoPayoutQueued")
      .withArgs(alice.address);
  });
});
