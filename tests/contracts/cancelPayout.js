import { expect } from "chai";
import { DELAY, ethers, loadFixture, subscribed, time } from "./fixture.js";

/** As `subscribed`, with `relayer` queued as the node's payout. */
async function queued() {
  const world = await subscribed();
  await world.ricochet.connect(world.node).queuePayout(world.relayer);
  return world;
}

describe("cancelPayout", () => {
  it("is for the operator, and for the current payout as a veto", async () => {
    for (const name of ["node", "payout"]) {
      const { ricochet, node, payout, relayer, ...world } = await loadFixture(queued);
      await expect(ricochet.connect({ node, payout }[name]).cancelPayout(node))
        .to.emit(ricochet, "PayoutCancelled")
        .withArgs(node.address, relayer.address);
      const entry = await ricochet.nodeOf(node);
      expect([entry.payout, entry.queuedPayout, entry.payoutDue]).to.deep.equal([payout.address, ethers.ZeroAddress, 0n]);
    }
  });

  it("still works after the delay, until the payout is applied", async () => {
    const { ricochet, node, payout } = await loadFixture(queued);
    await time.increase(2n * DELAY);
    await ricochet.connect(payout).cancelPayout(node);
    await expect(ricochet.applyPayout(node)).to.be.revertedWithCustomError(ricochet, "NoPayoutQueued");
  });

  it("is for nobody else, the queued payout and the owner included", async () => {
    const { ricochet, node, relayer, treasury, other } = await loadFixture(queued);
    for (const caller of [relayer, treasury, other]) {
      await expect(ricochet.connect(caller).cancelPayout(node))
        .to.be.revertedWithCustomError(ricochet, "NoVeto")
        .withArgs(caller.address, node.address);
    }
  });

  it("needs something queued", async () => {
    const { ricochet, node, relayer } = await loadFixture(subscribed);
    for (const operator of [node, relayer]) {
      await expect(ricochet.connect(operator).cancelPayout(operator))
        .to.be.revertedWithCustomError(ricochet, "NoPayoutQueued")
        .withArgs(operator.address);
    }
  });
});
