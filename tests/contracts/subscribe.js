import { expect } from "chai";
import {
  DAY, FEE, MAX_FEE, MIN_FEE, PERIOD, WINDOW, at, claim, ethers, fixture, loadFixture, over, subscribed, time, voucher,
} from "./fixture.js";

describe("subscribe", () => {
  it("opens the first period with the fee as its budget", async () => {
    const { ricochet, usd, alice, delegate } = await loadFixture(fixture);
    expect(await ricochet.currentPeriod(alice)).to.equal(0n);
    expect(await ricochet.delegateOf(alice)).to.equal(ethers.ZeroAddress);
    expect(await ricochet.periodOf(alice, 1)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, false]);
    const start = BigInt(await time.latest()) + 100n;
    await at(start);
    const sent = ricochet.connect(alice).subscribe(FEE, delegate, false);
    await expect(sent)
      .to.emit(ricochet, "Subscribed")
      .withArgs(alice.address, 1n, FEE, delegate.address, start, start + PERIOD);
    await expect(sent).to.changeTokenBalances(ethers, usd, [alice, ricochet], [-FEE, FEE]);
    expect(await ricochet.currentPeriod(alice)).to.equal(1n);
    expect(await ricochet.delegateOf(alice)).to.equal(delegate.address);
    expect(await ricochet.periodOf(alice, 1)).to.deep.equal([FEE, 0n, 0n, FEE, start, start + PERIOD, false]);
    expect(await ricochet.liabilities()).to.equal(FEE);
  });

  it("accepts both bounds and nothing beyond them", async () => {
    const { ricochet, alice, delegate } = await loadFixture(fixture);
    for (const fee of [MIN_FEE - 1n, MAX_FEE + 1n]) {
      await expect(ricochet.connect(alice).subscribe(fee, delegate, false))
        .to.be.revertedWithCustomError(ricochet, "FeeOutOfRange")
        .withArgs(fee, MIN_FEE, MAX_FEE);
    }
    await ricochet.connect(alice).subscribe(MIN_FEE, delegate, false);
    await time.increase(PERIOD);
    await ricochet.connect(alice).subscribe(MAX_FEE, delegate, false);
    expect((await ricochet.periodOf(alice, 2)).budget).to.equal(MAX_FEE);
  });

  it("refuses an empty delegate, and lets a subscriber be his own", async () => {
    const { ricochet, alice } = await loadFixture(fixture);
    await expect(ricochet.connect(alice).subscribe(FEE, ethers.ZeroAddress, false)).to.be.revertedWithCustomError(
      ricochet, "ZeroAddress",
    );
    await ricochet.connect(alice).subscribe(FEE, alice, false);
    expect(await ricochet.delegateOf(alice)).to.equal(alice.address);
  });

  it("is refused until the second the current period ends", async () => {
    const { ricochet, alice, delegate, end } = await loadFixture(subscribed);
    await at(end - 1n);
    await expect(ricochet.connect(alice).subscribe(FEE, delegate, false))
      .to.be.revertedWithCustomError(ricochet, "AlreadySubscribed")
      .withArgs(1n, end, end - 1n);
    await at(end);
    await ricochet.connect(alice).subscribe(FEE, delegate, false);
    expect((await ricochet.periodOf(alice, 2)).start).to.equal(end);
  });

  it("leaves the earlier period alive and closable", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, delegate, node, end } = world;
    await time.increaseTo(end + DAY);
    await ricochet.connect(alice).subscribe(FEE, delegate, false);
    await claim(world, await voucher(world, 1_000_000n));
    expect(await ricochet.withdrawable(node)).to.equal(700_000n);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    expect((await ricochet.periodOf(alice, 2)).budget).to.equal(FEE);
    expect(await ricochet.refundable(alice)).to.equal(FEE - 1_000_000n);
  });

  it("counts ordinals for each subscriber alone", async () => {
    const { ricochet, usd, other, delegate } = await loadFixture(subscribed);
    await usd.mint(other, FEE);
    await usd.connect(other).approve(ricochet, FEE);
    await ricochet.connect(other).subscribe(FEE, delegate, false);
    expect(await ricochet.currentPeriod(other)).to.equal(1n);
  });

  it("spends refundable balance first and pulls only the rest", async () => {
    const { ricochet, usd, alice, delegate, end } = await loadFixture(subscribed);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await usd.connect(alice).approve(ricochet, MAX_FEE - FEE);
    await expect(ricochet.connect(alice).subscribe(MAX_FEE, delegate, false)).to.changeTokenBalance(
      ethers, usd, alice, FEE - MAX_FEE,
    );
    expect(await ricochet.refundable(alice)).to.equal(0n);
    expect(await ricochet.liabilities()).to.equal(MAX_FEE);
  });

  it("pulls nothing when refundable balance covers the fee", async () => {
    const { ricochet, usd, alice, delegate, end } = await loadFixture(subscribed);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await usd.connect(alice).approve(ricochet, 0n);
    await expect(ricochet.connect(alice).subscribe(MIN_FEE, delegate, false)).to.changeTokenBalance(ethers, usd, alice, 0n);
    expect(await ricochet.refundable(alice)).to.equal(FEE - MIN_FEE);
  });

  it("needs the allowance", async () => {
    const { ricochet, usd, alice, delegate } = await loadFixture(fixture);
    await usd.connect(alice).approve(ricochet, FEE - 1n);
    await expect(ricochet.connect(alice).subscribe(FEE, delegate, false)).to.be.revertedWithCustomError(
      usd, "ERC20InsufficientAllowance",
    );
  });

  it("refuses a token that delivers less or more than was sent", async () => {
    for (const [token, received] of [["FeeOnTransferUSD", (FEE * 99n) / 100n], ["BonusUSD", FEE + 1n]]) {
      const { ricochet, alice, delegate } = await over(token);
      await expect(ricochet.connect(alice).subscribe(FEE, delegate, false))
        .to.be.revertedWithCustomError(ricochet, "InexactTransfer")
        .withArgs(received, FEE);
    }
  });

  it("refuses a fee that no budget can hold", async () => {
    const { usd, treasury, alice, delegate } = await loadFixture(fixture);
    const ricochet = await ethers.deployContract("Ricochet", [usd, treasury, MIN_FEE, 2n ** 96n]);
    await expect(ricochet.connect(alice).subscribe(2n ** 96n, delegate, false))
      .to.be.revertedWithCustomError(ricochet, "SafeCastOverflowedUintDowncast")
      .withArgs(96n, 2n ** 96n);
  });
});
