import { expect } from "chai";
import { FEE, claim, ethers, loadFixture, subscribed, voucher } from "./fixture.js";

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
});
