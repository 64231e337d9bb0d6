import { expect } from "chai";
import { ethers, fixture, loadFixture } from "./fixture.js";

const PEER = "12D3KooWA768LzHMatxkjD1f9DrYW375GZJr6MHPCNEdDtHeTNRt";
const ADDRESSES = ["/ip4/203.0.113.7/tcp/4001", "/dns4/node.example/tcp/4001"];

describe("registerNode", () => {
  it("enters the caller as operator", async () => {
    const { ricochet, node, payout } = await loadFixture(fixture);
    expect(await ricochet.nodeOf(node)).to.deep.equal(["", [], ethers.ZeroAddress, ethers.ZeroAddress, 0n]);
    await expect(ricochet.connect(node).registerNode(PEER, ADDRESSES, payout))
      .to.emit(ricochet, "NodeRegistered")
      .withArgs(node.address, PEER, ADDRESSES, payout.address);
    expect(await ricochet.nodeOf(node)).to.deep.equal([PEER, ADDRESSES, payout.address, ethers.ZeroAddress, 0n]);
  });

  it("happens once", async () => {
    const { ricochet, node, payout, other } = await loadFixture(fixture);
    await ricochet.connect(node).registerNode(PEER, ADDRESSES, payout);
    for (const again of [payout, other]) {
      await expect(ricochet.connect(node).registerNode(PEER, ADDRESSES, again))
        .to.be.revertedWithCustomError(ricochet, "AlreadyRegistered")
        .withArgs(node.address, payout.address);
    }
  });

  it("refuses an empty payout", async () => {
    const { ricochet, node } = await loadFixture(fixture);
    await expect(ricochet.connect(node).registerNode(PEER, [], ethers.ZeroAddress)).to.be.revertedWithCustomError(
      ricochet, "ZeroAddress",
    );
  });

  it("bounds the peer id in bytes, not characters", async () => {
    const { ricochet, node, other, payout } = await loadFixture(fixture);
    for (const [peerId, bytes] of [["", 0n], ["p".repeat(65), 65n], ["é".repeat(33), 66n]]) {
      await expect(ricochet.connect(node).registerNode(peerId, [], payout))
        .to.be.revertedWithCustomError(ricochet, "PeerIdLength")
        .withArgs(bytes, 64n);
    }
    await ricochet.connect(node).registerNode("p".repeat(64), [], payout);
    await ricochet.connect(other).registerNode("p", [], payout);
  });

  it("bounds the number of addresses", async () => {
    const { ricochet, node, payout } = await loadFixture(fixture);
    await expect(ricochet.connect(node).registerNode(PEER, Array(9).fill("/a"), payout))
      .to.be.revertedWithCustomError(ricochet, "TooManyMultiaddrs")
      .withArgs(9n, 8n);
  });

  it("bounds the length of each address", async () => {
    const { ricochet, node, payout } = await loadFixture(fixture);
    const longest = "a".repeat(256);
    await expect(ricochet.connect(node).registerNode(PEER, [longest, longest + "a"], payout))
      .to.be.revertedWithCustomError(ricochet, "MultiaddrTooLong")
      .withArgs(1n, 257n, 256n);
    await ricochet.connect(node).registerNode(PEER, Array(8).fill(longest), payout);
    expect((await ricochet.nodeOf(node)).multiaddrs).to.have.lengthOf(8);
  });
});
