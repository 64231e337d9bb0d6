// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Settlement of metered model capacity between subscribers and node operators
/// @notice A subscriber pays a fee into a period's budget. The budget is spent by cumulative vouchers
/// that the subscriber, or a delegate he names, signs to nodes. A voucher within its node's commitment
/// is always payable: commitments only grow while a period lives, and their sum never exceeds the budget.
/// Of every amount paid, 70 % goes to the node's operator and 30 % to the treasury.
/// @dev All amounts are in the token's smallest unit. Chain time is the only clock, and every span is
/// half open: a period lives while `start <= now < end`, its claim window while `now < end + CLAIM_WINDOW`,
/// and it can be closed from `end + CLAIM_WINDOW` on.
interface IRicochet {
    /// @notice One subscriber's paid span of time. Ordinals count from 1 for each subscriber.
    /// @param fee What was paid to open the period.
    /// @param budget The fee and every top-up.
    /// @param committed Sum of all nodes' commitments; never above `budget`.
    /// @param paid Sum of what was paid for all nodes, commission included; never above `committed`.
    /// @param start Second in which the period opened.
    /// @param end First second that no longer belongs to the period.
    /// @param closed True once the unspent budget has become refundable.
    struct Period {
        uint128 fee;
        uint128 budget;
        uint128 committed;
        uint128 paid;
        uint64 start;
        uint64 end;
        bool closed;
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
    struct Node {
        string peerId;
        string[] multiaddrs;
        address payout;
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
        /// The subscriber never opened such a period.
        NoPeriod,
        /// The period has ended, so it takes no more reservations.
        PeriodEnded,
        /// The claim window is over.
        WindowEnded,
        /// Signed neither by the subscriber nor by a delegate of his.
        BadSignature,
        /// Not above what is already committed (reservation) or paid (voucher): a replay, or an older entry.
        NotRaised,
        /// The free budget does not cover the whole raise.
        BudgetExceeded,
        /// Nobody registered the node, so there is no address to pay to.
        NodeUnknown,
        /// The commitment is paid out and there is no free budget to raise it with.
        NothingPayable
    }

    /// @notice A period was opened; its budget is `budget` and `delegate` may sign for it.
    event Subscribed(
        address indexed subscriber,
        uint32 indexed period,
        uint128 fee,
        uint128 budget,
        address delegate,
        uint64 start,
        uint64 end
    );
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
    /// @notice An operator entered or changed its node in the registry.
    event NodeRegistered(address indexed operator, string peerId, string[] multiaddrs, address payout);
    /// @notice The income of `account` was sent to `to`.
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    /// @notice The delegate, the payout or the treasury must not be the zero address.
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
    /// @notice The token delivered another amount than it was asked for, as a fee on transfers does.
    error InexactTransfer(uint256 received, uint256 expected);
    /// @notice A batch needs exactly one signature for each entry.
    error LengthMismatch(uint256 entries, uint256 signatures);
    /// @notice The subscriber's periods run from 1 to `current`.
    error PeriodUnknown(uint32 period, uint32 current);
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
    /// @notice The payout address stays what it was at the first registration.
    error PayoutFixed(address current, address proposed);

    /// @notice Open the next period of the caller and name the delegate who may sign for it.
    /// @dev The caller's refundable balance pays first; only the rest is pulled, so the allowance need
    /// not exceed `fee - refundable(caller)`. Earlier periods keep their own life and stay claimable and
    /// closable.
    /// @param fee What to pay, between `minFee` and `maxFee`; the whole of it becomes the budget.
    /// @param delegate Signs reservations and vouchers besides the subscriber; not zero.
    function subscribe(uint128 fee, address delegate) external;

    /// @notice Add to the budget of the caller's running period.
    /// @dev Paid like a subscription: from the refundable balance first, the rest pulled.
    /// @param amount What to add; not zero, without an upper bound.
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

    /// @notice Enter the caller's node in the registry, or change its peer id and addresses.
    /// @param peerId 1 to 64 bytes.
    /// @param multiaddrs At most 8, of at most 256 bytes each.
    /// @param payout Where the income goes; not zero, and the same at every later call.
    function registerNode(string calldata peerId, string[] calldata multiaddrs, address payout) external;

    /// @notice Send the income of `account` to its registered payout, whoever calls.
    /// @dev The treasury's income always goes to the treasury itself, even if it also operates a node.
    function withdraw(address account) external;

    /// @notice The operator's part of every payment, in 1/10000.
    function NODE_BPS() external view returns (uint256);

    /// @notice Seconds from a period's start to its end.
    function PERIOD() external view returns (uint64);

    /// @notice Seconds after a period's end during which vouchers are still paid.
    function CLAIM_WINDOW() external view returns (uint64);

    /// @notice The one token in which everything is paid.
    function token() external view returns (IERC20);

    /// @notice Receives the commission.
    function treasury() external view returns (address);

    /// @notice The least fee of a period.
    function minFee() external view returns (uint128);

    /// @notice The greatest fee of a period.
    function maxFee() external view returns (uint128);

    /// @notice Ordinal of the newest period, which may have ended; 0 before the first subscription.
    function currentPeriod(address subscriber) external view returns (uint32);

    /// @notice A period's state; all zero if it was never opened.
    function periodOf(address subscriber, uint32 period) external view returns (Period memory);

    /// @notice A node's commitment and payments within a period; zero if it has none.
    function accountOf(address subscriber, uint32 period, address node) external view returns (Account memory);

    /// @notice The delegate named at the newest subscription; zero before the first.
    /// @dev He signs for every period. The delegate under whom an earlier period was opened keeps signing
    /// for that one: otherwise a subscriber could void his vouchers by subscribing with another delegate
    /// before they were claimed.
    function delegateOf(address subscriber) external view returns (address);

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
