import { expect } from "chai";
import {
  DAY, FEE, LEAD, PERIOD, SKIP, WINDOW, at, claim, ethers, fixture, loadFixture, renewable, reservation, reserve,
  subscribed, time, voucher,
} from "./fixture.js";

describe("renew", () => {
  it("opens the next period where the last one ends, at its fee, whoever calls", async () => {
    const { ricochet, usd, alice, delegate, relayer, end } = await loadFixture(renewable);
    await ricochet.connect(alice).topUp(5n);
    const sent = ricochet.connect(relayer).renew(alice);
    await expect(sent)
      .to.emit(ricochet, "Subscribed")
      .withArgs(alice.address, 2n, FEE, delegate.address, end, end + PERIOD);
    await expect(sent).to.changeTokenBalances(ethers, usd, [alice, ricochet, relayer], [-FEE, FEE, 0n]);
    expect(await ricochet.periodOf(alice, 2)).to.deep.equal([FEE, 0n, 0n, FEE, end, end + PERIOD, false]);
    expect(await ricochet.liabilities()).to.equal(2n * FEE + 5n);
  });

  it("leaves the running period current until it ends", async () => {
    const world = await loadFixture(renewable);
    const { ricochet, alice, end } = world;
    await ricochet.renew(alice);
    await time.increaseTo(end - 2n);
    expect(await ricochet.currentPeriod(alice)).to.equal(1n);
    await at(end - 1n);
    await ricochet.connect(alice).topUp(9n);
    expect((await ricochet.periodOf(alice, 1)).budget).to.equal(FEE + 9n);
    await time.increaseTo(end);
    expect(await ricochet.currentPeriod(alice)).to.equal(2n);
    await ricochet.connect(alice).topUp(7n);
    expect((await ricochet.periodOf(alice, 2)).budget).to.equal(FEE + 7n);
  });

  it("lets nobody spend the next period before it begins", async () => {
    const world = await loadFixture(renewable);
    const { ricochet, alice, node, end } = world;
    await ricochet.renew(alice);
    const [held, paper] = [await reservation(world, 9n, { period: 2n }), await voucher(world, 10n, { period: 2n })];
    await at(end - 2n);
    await expect(reserve(world, held)).to.emit(ricochet, "ReservationSkipped")
      .withArgs(alice.address, node.address, 2n, SKIP.NoPeriod);
    await at(end - 1n);
    await expect(claim(world, paper)).to.emit(ricochet, "VoucherSkipped")
      .withArgs(alice.address, node.address, 2n, SKIP.NoPeriod);
    await at(end);
    await reserve(world, held);
    await claim(world, paper);
    expect(await ricochet.accountOf(alice, 2, node)).to.deep.equal([10n, 10n]);
  });

  it("opens in the last three days of a period, and closes with it", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, alice, end } = world;
    await ricochet.connect(alice).setAutoRenew(true);
    for (const outside of [end - LEAD - 1n, end, end + DAY]) {
      const back = await time.latest();
      if (BigInt(back) < outside) await at(outside);
      await expect(ricochet.renew(alice)).to.be.revertedWithCustomError(ricochet, "OutsideRenewal").withArgs(end, outside);
    }
  });

  it("takes the first and the last second", async () => {
    for (const inside of ["first", "last"]) {
      const { ricochet, alice, end } = await loadFixture(renewable);
      await at(inside === "first" ? end - LEAD : end - 1n);
      await ricochet.renew(alice);
      expect((await ricochet.periodOf(alice, 2)).start).to.equal(end);
    }
  });

  it("renews one period ahead, not two, and then again", async () => {
    const { ricochet, alice, end } = await loadFixture(renewable);
    await ricochet.renew(alice);
    await at(end - 5n);
    await expect(ricochet.renew(alice))
      .to.be.revertedWithCustomError(ricochet, "OutsideRenewal")
      .withArgs(end + PERIOD, end - 5n);
    await at(end - 4n);
    await expect(ricochet.connect(alice).subscribe(FEE, alice, true))
      .to.be.revertedWithCustomError(ricochet, "AlreadySubscribed")
      .withArgs(2n, end + PERIOD, end - 4n);
    await time.increaseTo(end + PERIOD - LEAD);
    await ricochet.renew(alice);
    expect((await ricochet.periodOf(alice, 3)).start).to.equal(end + PERIOD);
  });

  it("needs the subscriber's consent", async () => {
    const { ricochet, alice } = await loadFixture(renewable);
    await ricochet.connect(alice).setAutoRenew(false);
    for (const caller of [alice, (await ethers.getSigners())[6]]) {
      await expect(ricochet.connect(caller).renew(alice))
        .to.be.revertedWithCustomError(ricochet, "AutoRenewOff")
        .withArgs(alice.address);
    }
  });

  it("needs a period", async () => {
    const { ricochet, alice } = await loadFixture(fixture);
    await ricochet.connect(alice).setAutoRenew(true);
    const now = BigInt(await time.latest()) + 5n;
    await at(now);
    await expect(ricochet.renew(alice)).to.be.revertedWithCustomError(ricochet, "OutsideRenewal").withArgs(0n, now);
  });

  it("pulls the fee of the subscription, neither more nor less", async () => {
    const { ricochet, usd, alice } = await loadFixture(renewable);
    await usd.connect(alice).approve(ricochet, FEE - 1n);
    await expect(ricochet.renew(alice)).to.be.revertedWithCustomError(usd, "ERC20InsufficientAllowance");
    await usd.connect(alice).approve(ricochet, FEE);
    await ricochet.renew(alice);
    expect(await usd.allowance(alice, ricochet)).to.equal(0n);
  });

  it("spends the subscriber's refundable balance first, not the caller's", async () => {
    const { ricochet, usd, alice, relayer, end } = await loadFixture(renewable);
    await ricochet.connect(relayer).renew(alice);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await usd.connect(alice).approve(ricochet, 0n);
    await time.increaseTo(end + PERIOD - LEAD);
    await expect(ricochet.connect(relayer).renew(alice)).to.changeTokenBalances(ethers, usd, [alice, relayer], [0n, 0n]);
    expect(await ricochet.refundable(alice)).to.equal(0n);
    expect(await ricochet.liabilities()).to.equal(2n * FEE);
  });
});
