import { expect } from "chai";
import { FEE, WINDOW, at, claim, loadFixture, reservation, reserve, subscribed, voucher } from "./fixture.js";

describe("close", () => {
  it("makes what was not paid refundable, committed or not", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, relayer, end } = world;
    await reserve(world, await reservation(world, 3_000_000n));
    await claim(world, await voucher(world, 1_000_000n));
    await at(end + WINDOW);
    await expect(ricochet.connect(relayer).close(alice, 1))
      .to.emit(ricochet, "Closed")
      .withArgs(alice.address, 1n, FEE - 1_000_000n);
    expect(await ricochet.refundable(alice)).to.equal(FEE - 1_000_000n);
    expect((await ricochet.periodOf(alice, 1)).closed).to.equal(true);
    expect(await ricochet.liabilities()).to.equal(FEE);
  });

  it("waits for the second the window ends", async () => {
    const { ricochet, alice, end } = await loadFixture(subscribed);
    await at(end + WINDOW - 1n);
    await expect(ricochet.close(alice, 1))
      .to.be.revertedWithCustomError(ricochet, "WindowOpen")
      .withArgs(end + WINDOW, end + WINDOW - 1n);
  });

  it("happens once", async () => {
    const { ricochet, alice, end } = await loadFixture(subscribed);
    await at(end + WINDOW);
    await ricochet.close(alice, 1);
    await expect(ricochet.close(alice, 1)).to.be.revertedWithCustomError(ricochet, "AlreadyClosed").withArgs(alice.address, 1n);
    expect(await ricochet.refundable(alice)).to.equal(FEE);
  });

  it("needs a period", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    for (const period of [0n, 2n]) {
      await expect(ricochet.close(alice, period))
        .to.be.revertedWithCustomError(ricochet, "PeriodUnknown")
        .withArgs(period, 1n);
    }
  });
});
