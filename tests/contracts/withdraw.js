import { expect } from "chai";
import { DELAY, FEE, WINDOW, claim, ethers, loadFixture, over, subscribe, subscribed, time, voucher } from "./fixture.js";

describe("withdraw", () => {
  it("sends an operator's income to the registered payout, whoever calls", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, node, payout, relayer } = world;
    await claim(world, await voucher(world, 1_000_000n));
    const sent = ricochet.connect(relayer).withdraw(node);
    await expect(sent).to.emit(ricochet, "Withdrawn").withArgs(node.address, payout.address, 700_000n);
    await expect(sent).to.changeTokenBalances(ethers, usd, [payout, node, relayer], [700_000n, 0n, 0n]);
    expect(await ricochet.withdrawable(node)).to.equal(0n);
    expect(await ricochet.liabilities()).to.equal(FEE - 700_000n);
  });

  it("sends the commission to the treasury", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, treasury, relayer } = world;
    await claim(world, await voucher(world, 1_000_000n));
    const sent = ricochet.connect(relayer).withdraw(treasury);
    await expect(sent).to.emit(ricochet, "Withdrawn").withArgs(treasury.address, treasury.address, 300_000n);
    await expect(sent).to.changeTokenBalance(ethers, usd, treasury, 300_000n);
  });

  it("has nothing for an account that earned nothing, or took it all", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, node, alice } = world;
    await claim(world, await voucher(world, 10n));
    await ricochet.withdraw(node);
    for (const account of [node, alice]) {
      await expect(ricochet.withdraw(account))
        .to.be.revertedWithCustomError(ricochet, "NothingToWithdraw")
        .withArgs(account.address);
    }
  });

  it("leaves donated tokens alone", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, node } = world;
    await usd.mint(ricochet, 5n);
    await claim(world, await voucher(world, FEE));
    await ricochet.withdraw(node);
    expect(await usd.balanceOf(ricochet)).to.equal((await ricochet.liabilities()) + 5n);
  });

  it("is blocked for no one else when the token bars one address", async () => {
    const world = await loadFixture(barring);
    const { ricochet, usd, alice, node, other, payout, relayer, treasury, end } = world;
    await ricochet.connect(relayer).registerNode("apart", [], relayer);
    await claim(
      world, await voucher(world, 1_000n), await voucher(world, 10n, { node: relayer }),
    );
    await usd.bar(payout, true);
    await expect(ricochet.withdraw(node)).to.be.revertedWithCustomError(usd, "Barred").withArgs(payout.address);
    // The batch that pays the barred account pays the others too, and each takes out its own.
    await claim(world, await voucher(world, 2_000n), await voucher(world, 20n, { node: relayer }));
    await expect(ricochet.withdraw(relayer)).to.changeTokenBalance(ethers, usd, relayer, 14n);
    await expect(ricochet.withdraw(treasury)).to.changeTokenBalance(ethers, usd, treasury, 606n);
    // The barred one loses nothing: another payout takes it all.
    await ricochet.connect(node).queuePayout(other);
    await time.increase(DELAY);
    await ricochet.applyPayout(node);
    await expect(ricochet.withdraw(node)).to.changeTokenBalance(ethers, usd, other, 1_400n);
    await usd.bar(alice, true);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    await expect(ricochet.connect(alice).refund()).to.be.revertedWithCustomError(usd, "Barred");
    await usd.bar(alice, false);
    await expect(ricochet.connect(alice).refund()).to.changeTokenBalance(ethers, usd, alice, FEE - 2_020n);
  });

  it("lets a barred treasury name a payout", async () => {
    const world = await loadFixture(barring);
    const { ricochet, usd, treasury, node, payout, relayer } = world;
    await claim(world, await voucher(world, 10n));
    await usd.bar(treasury, true);
    await expect(ricochet.withdraw(treasury)).to.be.revertedWithCustomError(usd, "Barred");
    await claim(world, await voucher(world, 20n));
    await expect(ricochet.withdraw(node)).to.changeTokenBalance(ethers, usd, payout, 14n);
    await ricochet.connect(treasury).registerNode("treasury", [], relayer);
    await expect(ricochet.withdraw(treasury)).to.changeTokenBalance(ethers, usd, relayer, 6n);
  });
});

async function barring() {
  return subscribe(await over("BlacklistUSD"));
}
