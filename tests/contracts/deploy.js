import { expect } from "chai";
import {
  DELAY, FEE, GRACE, LEAD, MAX_FEE, MIN_FEE, PERIOD, WINDOW, ethers, fixture, loadFixture,
} from "./fixture.js";

describe("deployment", () => {
  it("fixes token, treasury, fee bounds and split", async () => {
    const { ricochet, usd, treasury } = await loadFixture(fixture);
    expect(await ricochet.token()).to.equal(await usd.getAddress());
    expect(await usd.decimals()).to.equal(6n);
    expect(await ricochet.treasury()).to.equal(treasury.address);
    expect(await ricochet.owner()).to.equal(treasury.address);
    expect(await ricochet.minFee()).to.equal(MIN_FEE);
    expect(await ricochet.maxFee()).to.equal(MAX_FEE);
    expect(await ricochet.NODE_BPS()).to.equal(7000n);
    expect(await ricochet.PERIOD()).to.equal(PERIOD);
    expect(await ricochet.CLAIM_WINDOW()).to.equal(WINDOW);
    expect(await ricochet.RENEWAL_LEAD()).to.equal(LEAD);
    expect(await ricochet.DELEGATE_GRACE()).to.equal(GRACE);
    expect(await ricochet.PAYOUT_DELAY()).to.equal(DELAY);
    expect(await ricochet.paused()).to.equal(false);
    expect(await ricochet.liabilities()).to.equal(0n);
  });

  it("names its signing domain", async () => {
    const { ricochet, domain } = await loadFixture(fixture);
    const [, name, version, chainId, verifyingContract] = await ricochet.eip712Domain();
    expect({ name, version, chainId, verifyingContract }).to.deep.equal(domain);
  });

  it("refuses a treasury that could not receive", async () => {
    const { ricochet, usd } = await loadFixture(fixture);
    await expect(ethers.deployContract("Ricochet", [usd, ethers.ZeroAddress, MIN_FEE, MAX_FEE]))
      .to.be.revertedWithCustomError(ricochet, "OwnableInvalidOwner")
      .withArgs(ethers.ZeroAddress);
  });

  it("refuses bounds that admit no fee, and accepts a single fee", async () => {
    const { ricochet, usd, treasury } = await loadFixture(fixture);
    await expect(ethers.deployContract("Ricochet", [usd, treasury, MAX_FEE, MIN_FEE]))
      .to.be.revertedWithCustomError(ricochet, "FeeBoundsReversed")
      .withArgs(MAX_FEE, MIN_FEE);
    const fixed = await ethers.deployContract("Ricochet", [usd, treasury, FEE, FEE]);
    expect(await fixed.minFee()).to.equal(await fixed.maxFee());
  });
});
