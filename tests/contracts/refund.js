import { expect } from "chai";
import { FEE, WINDOW, ethers, loadFixture, subscribed, time } from "./fixture.js";

describe("refund", () => {
  it("returns the refundable balance to the subscriber", async () => {
    const { ricochet, usd, alice, end } = await loadFixture(subscribed);
    await time.increaseTo(end + WINDOW);
    await ricochet.close(alice, 1);
    const sent = ricochet.connect(alice).refund();
    await expect(sent).to.emit(ricochet, "Refunded").withArgs(alice.address, FEE);
    await expect(sent).to.changeTokenBalances(ethers, usd, [alice, ricochet], [FEE, -FEE]);
    expect(await ricochet.refundable(alice)).to.equal(0n);
    expect(await ricochet.liabilities()).to.equal(0n);
  });

  it("has nothing before a period is closed", async () => {
    const { ricochet, alice, end } = await loadFixture(subscribed);
    await time.increaseTo(end + WINDOW);
    await expect(ricochet.connect(alice).refund())
      .to.be.revertedWithCustomError(ricochet, "NothingToRefund")
      .withArgs(alice.address);
  });
});
