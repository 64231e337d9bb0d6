import { expect } from "chai";
import {
  DELAY, FEE, WINDOW, claim, loadFixture, paused, renewable, reservation, reserve, subscribed, time,
  voucher,
} from "./fixture.js";

describe("pause", () => {
  it("is the owner's, and so is its end", async () => {
    const { ricochet, treasury, relayer } = await loadFixture(subscribed);
    await expect(ricochet.connect(relayer).pause())
      .to.be.revertedWithCustomError(ricochet, "OwnableUnauthorizedAccount")
      .withArgs(relayer.address);
    await expect(ricochet.connect(treasury).pause()).to.emit(ricochet, "Paused").withArgs(treasury.address);
    await expect(ricochet.connect(relayer).unpause()).to.be.revertedWithCustomError(ricochet, "OwnableUnauthorizedAccount");
    await expect(ricochet.connect(treasury).unpause()).to.emit(ricochet, "Unpaused").withArgs(treasury.address);
  });

  it("stops subscribe, subscribeWithPermit, renew and topUp until it ends", async () => {
    const { ricochet, treasury, alice, delegate, end } = await loadFixture(renewable);
    await ricochet.connect(treasury).pause();
    const none = [0n, 27, "0x" + "00".repeat(32), "0x" + "00".repeat(32)];
    const attempts = [
      () => ricochet.connect(alice).subscribe(FEE, delegate, false),
      () => ricochet.connect(alice).subscribeWithPermit(FEE, delegate, false, ...none),
      () => ricochet.renew(alice),
      () => ricochet.connect(alice).topUp(1n),
    ];
    for (const attempt of attempts) {
      await expect(attempt()).to.be.revertedWithCustomError(ricochet, "EnforcedPause");
    }
    await ricochet.connect(treasury).unpause();
    await ricochet.connect(alice).topUp(1n);
    await ricochet.renew(alice);
    expect((await ricochet.periodOf(alice, 2)).start).to.equal(end);
  });

  it("touches nothing that was paid in, nor the registry", async () => {
    const world = await loadFixture(paused);
    const { ricochet, alice, node, other, payout, relayer, treasury, end } = world;
    await reserve(world, await reservation(world, 1_000n));
    await claim(world, await voucher(world, 2_000n));
    await ricochet.withdraw(node);
    await ricochet.withdraw(treasury);
    await ricochet.connect(relayer).registerNode("new", [], relayer);
    await ricochet.connect(node).updateNode("moved", []);
    await ricochet.connect(node).queuePayout(relayer);
    await ricochet.connect(payout).cancelPayout(node);
    await ricochet.connect(node).queuePayout(relayer);
    await time.increase(DELAY);
    await ricochet.applyPayout(node);
    await ricochet.connect(alice).setAutoRenew(true);
    await ricochet.connect(alice).setDelegate(other);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await ricochet.connect(alice).refund();
    expect(await ricochet.liabilities()).to.equal(0n);
  });
});
