import { expect } from "chai";
import { FEE, UINT128_MAX, WINDOW, at, ethers, fixture, loadFixture, subscribed, time } from "./fixture.js";

describe("topUp", () => {
  it("raises the budget and leaves the fee", async () => {
    const { ricochet, usd, alice } = await loadFixture(subscribed);
    const sent = ricochet.connect(alice).topUp(3_000_000n);
    await expect(sent).to.emit(ricochet, "ToppedUp").withArgs(alice.address, 1n, 3_000_000n);
    await expect(sent).to.changeTokenBalances(ethers, usd, [alice, ricochet], [-3_000_000n, 3_000_000n]);
    const period = await ricochet.periodOf(alice, 1);
    expect([period.fee, period.budget]).to.deep.equal([FEE, FEE + 3_000_000n]);
    expect(await ricochet.liabilities()).to.equal(FEE + 3_000_000n);
  });

  it("refuses nothing at all", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    await expect(ricochet.connect(alice).topUp(0)).to.be.revertedWithCustomError(ricochet, "ZeroAmount");
  });

  it("refuses more than a budget can hold", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    for (const amount of [2n ** 96n - FEE, 2n ** 96n, UINT128_MAX]) {
      await expect(ricochet.connect(alice).topUp(amount))
        .to.be.revertedWithCustomError(ricochet, "SafeCastOverflowedUintDowncast")
        .withArgs(96n, FEE + amount);
    }
  });

  it("works until the second the period ends", async () => {
    const { ricochet, alice, end } = await loadFixture(subscribed);
    await at(end - 1n);
    await ricochet.connect(alice).topUp(1n);
    await at(end);
    await expect(ricochet.connect(alice).topUp(1n))
      .to.be.revertedWithCustomError(ricochet, "NotSubscribed")
      .withArgs(1n, end, end);
  });

  it("needs a period", async () => {
    const { ricochet, alice } = await loadFixture(fixture);
    const now = BigInt(await time.latest()) + 10n;
    await at(now);
    await expect(ricochet.connect(alice).topUp(1n))
      .to.be.revertedWithCustomError(ricochet, "NotSubscribed")
      .withArgs(0n, 0n, now);
  });

  it("spends refundable balance first", async () => {
    const { ricochet, usd, alice, delegate, end } = await loadFixture(subscribed);
    await time.increaseTo(end);
    await ricochet.connect(alice).subscribe(FEE, delegate, false);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await expect(ricochet.connect(alice).topUp(FEE + 5n)).to.changeTokenBalance(ethers, usd, alice, -5n);
    expect(await ricochet.refundable(alice)).to.equal(0n);
    expect((await ricochet.periodOf(alice, 2)).budget).to.equal(2n * FEE + 5n);
  });
});
