import { expect } from "chai";
import { ethers, fixture, loadFixture, subscribed } from "./fixture.js";

const MOVED = ["/ip4/203.0.113.8/tcp/4001"];

describe("updateNode", () => {
  it("replaces peer id and addresses, and keeps the payout", async () => {
    const { ricochet, node, other, payout } = await loadFixture(subscribed);
    await ricochet.connect(node).updateNode("first", ["/a", "/b"]);
    await expect(ricochet.connect(node).updateNode("moved", MOVED))
      .to.emit(ricochet, "NodeRegistered")
      .withArgs(node.address, "moved", MOVED, payout.address);
    expect(await ricochet.nodeOf(node)).to.deep.equal(["moved", MOVED, payout.address, ethers.ZeroAddress, 0n]);
    expect((await ricochet.nodeOf(other)).peerId).to.equal("12D3KooWOther");
  });

  it("keeps the bounds of the registration", async () => {
    const { ricochet, node } = await loadFixture(subscribed);
    for (const [peerId, bytes] of [["", 0n], ["p".repeat(65), 65n]]) {
      await expect(ricochet.connect(node).updateNode(peerId, []))
        .to.be.revertedWithCustomError(ricochet, "PeerIdLength")
        .withArgs(bytes, 64n);
    }
    await expect(ricochet.connect(node).updateNode("p", Array(9).fill("/a")))
      .to.be.revertedWithCustomError(ricochet, "TooManyMultiaddrs")
      .withArgs(9n, 8n);
    await expect(ricochet.connect(node).updateNode("p", ["a".repeat(257)]))
      .to.be.revertedWithCustomError(ricochet, "MultiaddrTooLong")
      .withArgs(0n, 257n, 256n);
  });

  it("needs a registration", async () => {
    const { ricochet, node } = await loadFixture(fixture);
    await expect(ricochet.connect(node).updateNode("p", []))
      .to.be.revertedWithCustomError(ricochet, "NotRegistered")
      .withArgs(node.address);
  });
});
