import { expect } from "chai";
import { FEE, MAX_FEE, MIN_FEE, ethers, fixture, loadFixture, over, permit } from "./fixture.js";

/** As `fixture`, with no approval. */
async function unapproved() {
  const world = await fixture();
  await world.usd.connect(world.alice).approve(world.ricochet, 0n);
  return world;
}

describe("subscribeWithPermit", () => {
  it("subscribes without an approval, and leaves none", async () => {
    const world = await loadFixture(unapproved);
    const { ricochet, usd, alice, delegate } = world;
    const sent = ricochet.connect(alice).subscribeWithPermit(FEE, delegate, true, ...(await permit(world)));
    await expect(sent).to.emit(ricochet, "Subscribed");
    await expect(sent).to.changeTokenBalances(ethers, usd, [alice, ricochet], [-FEE, FEE]);
    expect(await usd.allowance(alice, ricochet)).to.equal(0n);
    expect(await ricochet.delegateOf(alice)).to.equal(delegate.address);
    expect(await ricochet.autoRenewOf(alice)).to.equal(true);
  });

  it("works when somebody used the permit first", async () => {
    const world = await loadFixture(unapproved);
    const { ricochet, usd, alice, delegate, relayer } = world;
    const signed = await permit(world);
    await usd.connect(relayer).permit(alice, ricochet, FEE, ...signed);
    await ricochet.connect(alice).subscribeWithPermit(FEE, delegate, false, ...signed);
    expect(await ricochet.currentPeriod(alice)).to.equal(1n);
  });

  it("fails at the transfer when the permit is bad and nothing was approved", async () => {
    const world = await loadFixture(unapproved);
    const { ricochet, usd, alice, delegate } = world;
    for (const bad of [await permit(world, FEE - 1n), await permit(world, FEE, 1n)]) {
      await expect(ricochet.connect(alice).subscribeWithPermit(FEE, delegate, false, ...bad))
        .to.be.revertedWithCustomError(usd, "ERC20InsufficientAllowance")
        .withArgs(await ricochet.getAddress(), 0n, FEE);
    }
  });

  it("uses an approval when the token knows no permits", async () => {
    const { ricochet, usd, alice, delegate } = await loadFixture(plain);
    const none = [0n, 27, ethers.ZeroHash, ethers.ZeroHash];
    await expect(
      ricochet.connect(alice).subscribeWithPermit(FEE, delegate, false, ...none),
    ).to.changeTokenBalance(ethers, usd, alice, -FEE);
  });

  it("keeps the rules of subscribe", async () => {
    const world = await loadFixture(unapproved);
    const signed = await permit(world);
    await expect(world.ricochet.connect(world.alice).subscribeWithPermit(MAX_FEE + 1n, world.delegate, false, ...signed))
      .to.be.revertedWithCustomError(world.ricochet, "FeeOutOfRange")
      .withArgs(MAX_FEE + 1n, MIN_FEE, MAX_FEE);
  });
});

function plain() {
  return over("PlainUSD");
}
