import { expect } from "chai";
import { claim, ethers, loadFixture, subscribed, voucher } from "./fixture.js";

describe("owner", () => {
  it("hands over in two steps, and the commission with it", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, treasury, relayer } = world;
    await claim(world, await voucher(world, 1_000n));
    await ricochet.connect(treasury).transferOwnership(relayer);
    expect(await ricochet.treasury()).to.equal(treasury.address);
    await claim(world, await voucher(world, 2_000n));
    await expect(ricochet.connect(relayer).acceptOwnership())
      .to.emit(ricochet, "OwnershipTransferred")
      .withArgs(treasury.address, relayer.address);
    expect(await ricochet.treasury()).to.equal(relayer.address);
    await claim(world, await voucher(world, 3_000n));
    expect(await ricochet.withdrawable(treasury)).to.equal(600n);
    await expect(ricochet.withdraw(treasury)).to.changeTokenBalance(ethers, usd, treasury, 600n);
    await expect(ricochet.withdraw(relayer)).to.changeTokenBalance(ethers, usd, relayer, 300n);
  });

  it("keeps its role until the successor accepts", async () => {
    const { ricochet, treasury, relayer, other } = await loadFixture(subscribed);
    await ricochet.connect(treasury).transferOwnership(relayer);
    for (const caller of [other, treasury]) {
      await expect(ricochet.connect(caller).acceptOwnership())
        .to.be.revertedWithCustomError(ricochet, "OwnableUnauthorizedAccount")
        .withArgs(caller.address);
    }
    await expect(ricochet.connect(relayer).pause()).to.be.revertedWithCustomError(ricochet, "OwnableUnauthorizedAccount");
    await ricochet.connect(treasury).pause();
  });

  it("cannot leave the commission to nobody", async () => {
    const { ricochet, treasury } = await loadFixture(subscribed);
    await expect(ricochet.connect(treasury).renounceOwnership()).to.be.revertedWithCustomError(ricochet, "TreasuryNeeded");
  });

  it("has no function but these", async () => {
    const { ricochet } = await loadFixture(subscribed);
    const [, , , , , , stranger] = await ethers.getSigners();
    const restricted = [];
    for (const { name, inputs, stateMutability } of ricochet.interface.fragments.filter(({ type }) => type === "function")) {
      if (stateMutability !== "nonpayable") continue;
      const blank = inputs.map(({ type }) => EMPTY[type]);
      const refusal = await ricochet.connect(stranger)[name].staticCall(...blank).then(() => "", ({ data }) => data);
      if (refusal.startsWith(UNAUTHORIZED)) restricted.push(name);
    }
    // acceptOwnership asks for the proposed owner, not for the owner.
    expect(restricted.sort()).to.deep.equal(["acceptOwnership", "pause", "transferOwnership", "unpause"]);
  });
});

const UNAUTHORIZED = ethers.id("OwnableUnauthorizedAccount(address)").slice(0, 10);

/** An argument of each type, for calls that need not succeed. */
const EMPTY = {
  address: ethers.ZeroAddress,
  bool: false,
  string: "",
  "string[]": [],
  "tuple[]": [],
  "bytes[]": [],
  bytes32: ethers.ZeroHash,
  uint8: 0,
  uint32: 0,
  uint128: 0,
  uint256: 0,
};
