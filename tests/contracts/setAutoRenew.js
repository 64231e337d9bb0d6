import { expect } from "chai";
import { FEE, fixture, loadFixture, subscribed } from "./fixture.js";

describe("setAutoRenew", () => {
  it("is off unless the subscriber turns it on", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    expect(await ricochet.autoRenewOf(alice)).to.equal(false);
    await expect(ricochet.connect(alice).setAutoRenew(true))
      .to.emit(ricochet, "AutoRenewChanged")
      .withArgs(alice.address, true);
    expect(await ricochet.autoRenewOf(alice)).to.equal(true);
    await expect(ricochet.connect(alice).setAutoRenew(false))
      .to.emit(ricochet, "AutoRenewChanged")
      .withArgs(alice.address, false);
  });

  it("says nothing when nothing changes", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    await expect(ricochet.connect(alice).setAutoRenew(false)).not.to.emit(ricochet, "AutoRenewChanged");
  });

  it("can come with the subscription", async () => {
    const { ricochet, alice, delegate } = await loadFixture(fixture);
    await expect(ricochet.connect(alice).subscribe(FEE, delegate, true))
      .to.emit(ricochet, "AutoRenewChanged")
      .withArgs(alice.address, true);
    expect(await ricochet.autoRenewOf(alice)).to.equal(true);
  });
});
