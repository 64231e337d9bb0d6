// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Settlement of metered model capacity between subscribers and node operators
/// @notice A subscriber pays a fee into a period's budget. The budget is spent by cumulative vouchers
/// that the subscriber, or a delegate he names, signs to nodes. A voucher within its node's commitment
/// is always payable: commitments only grow while a period lives, and their sum never exceeds the budget.
/// Of every amount paid, 70 % goes to the node's operator and 30 % to the treasury, which is the owner.
/// The owner can pause the taking of new money (`subscribe`, `renew`, `topUp`) and hand its role over in
/// two steps, and nothing else: what was paid in is reserved, claimed, closed, refunded and withdrawn as
/// if there were no owner.
/// @dev All amounts are in the token's smallest unit. Chain time is the only clock, and every span is
/// half open: a period lives while `start <= now < end`, its claim window while `now < end + CLAIM_WINDOW`,
/// and it can be closed from `end + CLAIM_WINDOW` on.
interface IRicochet {
    /// @notice One subscriber's paid span of time. Ordinals count from 1 for each subscriber.
    /// @param budget The fee and every top-up.
    /// @param committed Sum of all nodes' commitments; never above `budget`.
    /// @param paid Sum of what was paid for all nodes, commission included; never above `committed`.
    /// @param fee What was paid to open the period, and what a renewal pulls.
    /// @param start Second in which the period begins.
    /// @param end First second that no longer belongs to the period.
    /// @param closed True once the unspent budget has become refundable.
    struct Period {
        uint128 budget;
        uint128 committed;
        uint128 paid;
        uint128 fee;
        uint64 start;
        uint64 end;
        bool closed;
    }

    /// @notice What signatures of one delegate can still do for one subscriber. While he serves, both are
    /// at their maximum; both are zero for an account that never was his delegate.
    /// @param lastPeriod Last period in which his vouchers are paid within commitments: the one that ran
    /// when he was replaced.
    /// @param raisesUntil First second in which he can no longer raise a commitment.
    struct Delegation {
        uint32 lastPeriod;
        uint64 raisesUntil;
    }

    /// @notice One node's standing within one period of one subscriber. Both amounts only grow.
    /// @param committed The part of the budget that only this node can claim.
    /// @param claimed What was paid for this node, commission included; never above `committed`.
    struct Account {
        uint128 committed;
        uint128 claimed;
    }

    /// @notice A registry entry: how to reach an operator's node, and where its income goes.
    /// @param peerId The node's network identity, as text.
    /// @param multiaddrs Where the node can be dialled.
    /// @param payout The only address that can receive the operator's income.
    /// @param queuedPayout The address that shall replace it; zero if none.
    /// @param payoutDue First second in which the queued payout can be applied; zero if none.
    struct Node {
        string peerId;
        string[] multiaddrs;
        address payout;
        address queuedPayout;
        uint64 payoutDue;
    }

    /// @notice Signed by the subscriber's side: raise this node's commitment to `total`.
    struct Reservation {
        address subscriber;
        address node;
        uint32 period;
        uint128 total;
    }

    /// @notice Signed by the subscriber's side: this node has earned `cumulative` in the period so far.
    struct Voucher {
        address subscriber;
        address node;
        uint32 period;
        uint128 cumulative;
    }

    /// @notice Why an entry of a batch had no effect.
    enum Skip {
        /// The subscriber has no such period, or it was renewed ahead and has not begun.
        NoPeriod,
        /// The period has ended, so it takes no more reservations.
        PeriodEnded,
        /// The claim window is over.
        WindowEnded,
        /// Signed neither by the subscriber nor by a delegate of his with power in the period; for a
        /// reservation, that of a replaced delegate ends after `DELEGATE_GRACE`.
        BadSignature,
        /// Not above what is already committed (reservation) or paid (voucher): a replay, or an older entry.
        NotRaised,
        /// The free budget does not cover the whole raise.
        BudgetExceeded,
        /// Nobody registered the node, so there is no address to pay to.
        NodeUnknown,
        /// The commitment is paid out and cannot be raised: no free budget, or a delegate replaced too
        /// long ago.
        NothingPayable
    }

    /// @notice A period was opened, by a subscription or a renewal. Its budget is `fee`, and `delegate`
    /// may sign for it.
    event Subscribed(
        address indexed subscriber, uint32 indexed period, uint128 fee, address delegate, uint64 start, uint64 end
    );
    /// @notice `delegate` signs from now on; `replaced`, zero for the first, loses his power by degrees.
    event DelegateChanged(address indexed subscriber, address indexed replaced, address indexed delegate);
    /// @notice The subscriber let his periods be renewed, or no longer does.
    event AutoRenewChanged(address indexed subscriber, bool autoRenew);
    /// @notice The budget of a running period grew by `amount`.
    event ToppedUp(address indexed subscriber, uint32 indexed period, uint128 amount);
    /// @notice The node's commitment rose to `total`, through a reservation or within a claim.
    event Reserved(address indexed subscriber, address indexed node, uint32 period, uint128 total);
    /// @notice A reservation in a batch had no effect.
    event ReservationSkipped(address indexed subscriber, address indexed node, uint32 period, Skip reason);
    /// @notice The node is now paid up to `cumulative`, which is less than its voucher says when the budget
    /// ran out. `nodeShare` and `commission` are what this claim added.
    event Claimed(
        address indexed subscriber,
        address indexed node,
        uint32 period,
        uint128 cumulative,
        uint128 nodeShare,
        uint128 commission
    );
    /// @notice A voucher in a batch had no effect.
    event VoucherSkipped(address indexed subscriber, address indexed node, uint32 period, Skip reason);
    /// @notice A period was closed, and `refundable` of its budget went back to the subscriber's balance.
    event Closed(address indexed subscriber, uint32 indexed period, uint128 refundable);
    /// @notice The subscriber took out his refundable balance.
    event Refunded(address indexed subscriber, uint256 amount);
    /// @notice The operator's entry in the registry is new, or changed: it says this from now on.
    event NodeRegistered(address indexed operator, string peerId, string[] multiaddrs, address payout);
    /// @notice The operator's payout shall become `payout`, which can be applied from `due` on.
    event PayoutQueued(address indexed operator, address payout, uint64 due);
    /// @notice The queued `payout` was withdrawn by the operator, or vetoed by the current payout address.
    event PayoutCancelled(address indexed operator, address payout);
    /// @notice The income of `account` was sent to `to`.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    /// @notice The delegate and the payout must not be the zero address.
    error ZeroAddress();
    /// @notice A top-up must add something.
    error ZeroAmount();
    /// @notice The contract cannot be deployed with bounds that admit no fee.
    error FeeBoundsReversed(uint128 minFee, uint128 maxFee);
    /// @notice Choose a fee between the bounds.
    error FeeOutOfRange(uint128 fee, uint128 minFee, uint128 maxFee);
    /// @notice The current period still runs; subscribe again at `end`.
    error AlreadySubscribed(uint32 period, uint64 end, uint64 timestamp);
    /// @notice No period runs: `period` is the last one, 0 if there was none. Subscribe first.
    error NotSubscribed(uint32 period, uint64 end, uint64 timestamp);
    /// @notice The subscriber did not let others renew; he can call `setAutoRenew` or subscribe again.
    error AutoRenewOff(address subscriber);
    /// @notice Renewal opens `RENEWAL_LEAD` before `end`, the end of the newest period, and closes there.
    error OutsideRenewal(uint64 end, uint64 timestamp);
    /// @notice The token delivered another amount than it was asked for, as a fee on transfers does.
    error InexactTransfer(uint256 received, uint256 expected);
    /// @notice A batch needs exactly one signature for each entry.
    error LengthMismatch(uint256 entries, uint256 signatures);
    /// @notice The subscriber's periods are numbered from 1 to `newest`.
    error PeriodUnknown(uint32 period, uint32 newest);
    /// @notice Vouchers can still be claimed; close at `windowEnd`.
    error WindowOpen(uint64 windowEnd, uint64 timestamp);
    /// @notice The period was closed before.
    error AlreadyClosed(address subscriber, uint32 period);
    /// @notice The subscriber's refundable balance is zero.
    error NothingToRefund(address subscriber);
    /// @notice The account's income is zero.
    error NothingToWithdraw(address account);
    /// @notice A peer id has from 1 to `maximum` bytes.
    error PeerIdLength(uint256 length, uint256 maximum);
    /// @notice A node has at most `maximum` addresses.
    error TooManyMultiaddrs(uint256 count, uint256 maximum);
    /// @notice The address at `index` has more than `maximum` bytes.
    error MultiaddrTooLong(uint256 index, uint256 length, uint256 maximum);
    /// @notice The operator is in the registry: `updateNode` and `queuePayout` change the entry.
    error AlreadyRegistered(address operator, address payout);
    /// @notice The operator is not in the registry: `registerNode` first.
    error NotRegistered(address operator);
    /// @notice Only the operator and its current payout address cancel a queued payout.
    error NoVeto(address caller, address operator);
    /// @notice There is nothing to cancel or apply.
    error NoPayoutQueued(address operator);
    /// @notice The queued payout can be applied from `due` on.
    error PayoutNotDue(uint64 due, uint64 timestamp);
    /// @notice The commission needs somebody to go to: transfer the ownership instead.
    error TreasuryNeeded();

    /// @notice Open the caller's next period and name the delegate who may sign for it. Not while paused.
    /// @dev The caller's refundable balance pays first; only the rest is pulled, so the allowance need
    /// not exceed `fee - refundable(caller)`. Earlier periods keep their own life and stay claimable and
    /// closable.
    /// @param fee What to pay, between `minFee` and `maxFee`; the whole of it becomes the budget.
    /// @param delegate Signs reservations and vouchers besides the subscriber; not zero. See `setDelegate`.
    /// @param autoRenew Whether anyone may renew at this fee. See `setAutoRenew`.
    function subscribe(uint128 fee, address delegate, bool autoRenew) external;

    /// @notice As `subscribe`, with an ERC-2612 permit of exactly `fee` instead of an earlier approval.
    /// @dev A permit that fails is ignored: if somebody sent it before, its allowance is there; if not,
    /// the transfer fails. It replaces a larger allowance, such as one meant for renewals.
    function subscribeWithPermit(
        uint128 fee,
        address delegate,
        bool autoRenew,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Open the subscriber's next period where the newest one ends, at the same fee, for anyone to
    /// call in the last `RENEWAL_LEAD` of the newest period. Not while paused.
    /// @dev Paid like a subscription. A subscription that lapsed is opened again only by its subscriber,
    /// so that nobody can draw on an allowance he forgot, or charge him for time that has passed.
    function renew(address subscriber) external;

    /// @notice Let anyone renew the caller's periods, or stop that.
    function setAutoRenew(bool autoRenew) external;

    /// @notice Let `delegate` sign for the caller, in place of the one who did.
    /// @dev The replaced one has no power in periods that begin later. In those that have begun he can
    /// raise commitments for `DELEGATE_GRACE` more, so that what he signed can still be relayed, and his
    /// vouchers within commitments are paid until the claim window ends: otherwise a subscriber could
    /// void vouchers by changing the delegate before they were claimed.
    /// @param delegate Not zero; the caller himself, or one who served before, may be named.
    function setDelegate(address delegate) external;

    /// @notice Add to the budget of the caller's running period. Not while paused.
    /// @dev Paid like a subscription: from the refundable balance first, the rest pulled.
    /// @param amount What to add; not zero. The budget is at most 2^96 - 1 units.
    function topUp(uint128 amount) external;

    /// @notice Raise commitments, for anyone to relay until the period ends.
    /// @dev All or nothing for each entry; an entry that is bad or stale is skipped with an event.
    function reserve(Reservation[] calldata reservations, bytes[] calldata signatures) external;

    /// @notice Pay vouchers, for anyone to relay until the claim window ends.
    /// @dev Raises the node's commitment toward the voucher as far as the free budget allows, then pays
    /// up to the commitment. A voucher paid in part can be presented again after a top-up. Rounding: the
    /// node's share is `floor(new * 7000 / 10000) - floor(old * 7000 / 10000)` of its cumulative amount,
    /// so splitting a claim changes nothing, and the odd unit is commission until it completes a share.
    /// An entry that is bad or stale is skipped with an event.
    function claim(Voucher[] calldata vouchers, bytes[] calldata signatures) external;

    /// @notice Turn what a period left unspent into refundable balance; anyone may, once its claim
    /// window is over.
    function close(address subscriber, uint32 period) external;

    /// @notice Send the caller his refundable balance.
    function refund() external;

    /// @notice Enter the caller's node in the registry, once.
    /// @param peerId 1 to 64 bytes.
    /// @param multiaddrs At most 8, of at most 256 bytes each.
    /// @param payout Where the income goes; not zero. Only `queuePayout` changes it.
    function registerNode(string calldata peerId, string[] calldata multiaddrs, address payout) external;

    /// @notice Replace the peer id and the addresses of the caller's node; the bounds are the same.
    function updateNode(string calldata peerId, string[] calldata multiaddrs) external;

    /// @notice Announce another payout for the caller's income, in place of any announced before.
    /// @dev The delay is for the current payout address, which may be a safer key than the operator's.
    /// @param payout Not zero.
    function queuePayout(address payout) external;

    /// @notice Drop the operator's queued payout; for the operator and its current payout address.
    function cancelPayout(address operator) external;

    /// @notice Put the operator's queued payout into force, for anyone to call `PAYOUT_DELAY` after it was
    /// queued. Income not withdrawn yet goes there too.
    function applyPayout(address operator) external;

    /// @notice Send the income of `account` to its registered payout, whoever calls.
    /// @dev A treasury, present or former, that never registered a node is paid itself.
    function withdraw(address account) external;

    /// @notice Stop taking new money; only the owner.
    function pause() external;

    /// @notice Take new money again; only the owner.
    function unpause() external;

    /// @notice The operator's part of every payment, in 1/10000.
    function NODE_BPS() external view returns (uint256);

    /// @notice Seconds from a period's start to its end.
    function PERIOD() external view returns (uint64);

    /// @notice Seconds after a period's end during which vouchers are still paid.
    function CLAIM_WINDOW() external view returns (uint64);

    /// @notice Seconds before a period's end from which it can be renewed.
    function RENEWAL_LEAD() external view returns (uint64);

    /// @notice Seconds for which a replaced delegate can still raise commitments.
    function DELEGATE_GRACE() external view returns (uint64);

    /// @notice Seconds between the queueing of a payout and its application.
    function PAYOUT_DELAY() external view returns (uint64);

    /// @notice The one token in which everything is paid.
    function token() external view returns (IERC20);

    /// @notice Receives the commission: the owner. What a former one earned stays his.
    function treasury() external view returns (address);

    /// @notice The least fee of a period.
    function minFee() external view returns (uint128);

    /// @notice The greatest fee of a period.
    function maxFee() external view returns (uint128);

    /// @notice Ordinal of the period that runs, or else of the last that ran; 0 before the first. The one
    /// after it exists if it was renewed ahead.
    function currentPeriod(address subscriber) external view returns (uint32);

    /// @notice A period's state; all zero if it was never opened.
    function periodOf(address subscriber, uint32 period) external view returns (Period memory);

    /// @notice A node's commitment and payments within a period; zero if it has none.
    function accountOf(address subscriber, uint32 period, address node) external view returns (Account memory);

    /// @notice The delegate who serves now; zero before the first was named.
    function delegateOf(address subscriber) external view returns (address);

    /// @notice What an account's signatures can do for the subscriber.
    function delegationOf(address subscriber, address delegate) external view returns (Delegation memory);

    /// @notice Whether anyone may renew the subscriber's periods.
    function autoRenewOf(address subscriber) external view returns (bool);

    /// @notice The operator's registry entry; empty, with payout zero, if it never registered.
    function nodeOf(address operator) external view returns (Node memory);

    /// @notice Income of an operator or the treasury that was not yet sent out.
    function withdrawable(address account) external view returns (uint256);

    /// @notice What the subscriber can take out, or spend first on his next payment.
    function refundable(address subscriber) external view returns (uint256);

    /// @notice Everything the contract owes: unspent budgets, withdrawable and refundable balances.
    /// @dev Never above the contract's token balance; equal to it unless someone sent tokens here.
    function liabilities() external view returns (uint256);

    /// @notice The EIP-712 digest that a reservation's signer signs.
    function hashReservation(Reservation calldata reservation) external view returns (bytes32);

    /// @notice The EIP-712 digest that a voucher's signer signs.
    function hashVoucher(Voucher calldata voucher) external view returns (bytes32);
}
