// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ricochet} from "../../contracts/Ricochet.sol";
import {IRicochet} from "../../contracts/interfaces/IRicochet.sol";
import {Handler} from "./Handler.sol";

/// @notice What holds after any sequence of calls. Sums are taken over everything the handler can touch,
/// from the views alone, so that no counter of the contract vouches for itself.
contract InvariantsTest {
    Handler private handler;
    Ricochet private ricochet;

    function setUp() public {
        handler = new Handler();
        ricochet = handler.ricochet();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// One test, so that every run is held to every rule. The numbers are those of the design; what only a
    /// single step can show (5, 7 to 10, and the order of 4) is checked by the handler and by Split.t.sol.
    function invariant_everyRuleHolds() public view {
        _balanceCoversLiabilities(); // 1
        _liabilitiesAreWhatIsOwed(); // 1
        _depositsAreConserved(); // 2
        _commitmentsFitTheBudget(); // 3
        _incomeIsTheShareOfWhatWasPaid(); // 4, 6
        _everyStepKeptItsRules();
    }

    function _balanceCoversLiabilities() private view {
        uint256 held = handler.usd().balanceOf(address(ricochet));
        require(held == ricochet.liabilities() + handler.donated(), "balance is not liabilities and donations");
    }

    function _liabilitiesAreWhatIsOwed() private view {
        uint256 owed;
        for (uint256 t; t < handler.TREASURIES(); ++t) {
            owed += ricochet.withdrawable(handler.treasuryAt(t));
        }
        for (uint256 n; n < handler.NODES(); ++n) {
            owed += ricochet.withdrawable(handler.nodeAt(n));
        }
        for (uint256 s; s < handler.SUBSCRIBERS(); ++s) {
            address subscriber = handler.subscriberAt(s);
            owed += ricochet.refundable(subscriber);
            for (uint32 p = 1; p <= handler.opened(subscriber); ++p) {
                IRicochet.Period memory period = ricochet.periodOf(subscriber, p);
                if (!period.closed) owed += period.budget - period.paid;
            }
        }
        require(owed == ricochet.liabilities(), "liabilities are not what is owed");
    }

    function _depositsAreConserved() private view {
        uint256 sent = handler.refunded();
        for (uint256 t; t < handler.TREASURIES(); ++t) {
            sent += handler.usd().balanceOf(handler.treasuryAt(t));
        }
        for (uint256 n; n < handler.NODES(); ++n) {
            sent += _received(n);
        }
        require(handler.deposited() == sent + ricochet.liabilities(), "deposits are not conserved");
    }

    function _commitmentsFitTheBudget() private view {
        for (uint256 s; s < handler.SUBSCRIBERS(); ++s) {
            address subscriber = handler.subscriberAt(s);
            for (uint32 p = 1; p <= handler.opened(subscriber); ++p) {
                IRicochet.Period memory period = ricochet.periodOf(subscriber, p);
                uint256 committed;
                uint256 paid;
                for (uint256 n; n < handler.NODES(); ++n) {
                    IRicochet.Account memory account = ricochet.accountOf(subscriber, p, handler.nodeAt(n));
                    require(account.claimed <= account.committed, "paid beyond a commitment");
                    committed += account.committed;
                    paid += account.claimed;
                }
                require(committed == period.committed && paid == period.paid, "sums differ from the period's");
                require(committed <= period.budget, "commitments exceed the budget");
            }
        }
    }

    /// Whatever the steps: each account brings its node the floor of 70 %, and the treasury the rest.
    function _incomeIsTheShareOfWhatWasPaid() private view {
        uint256 commission;
        for (uint256 n; n < handler.NODES(); ++n) {
            address node = handler.nodeAt(n);
            uint256 income;
            for (uint256 s; s < handler.SUBSCRIBERS(); ++s) {
                address subscriber = handler.subscriberAt(s);
                for (uint32 p = 1; p <= handler.opened(subscriber); ++p) {
                    uint256 claimed = ricochet.accountOf(subscriber, p, node).claimed;
                    income += (claimed * 7) / 10;
                    commission += claimed - (claimed * 7) / 10;
                }
            }
            require(ricochet.withdrawable(node) + _received(n) == income, "a node's income is not its share");
        }
        uint256 taken;
        for (uint256 t; t < handler.TREASURIES(); ++t) {
            taken += ricochet.withdrawable(handler.treasuryAt(t)) + handler.usd().balanceOf(handler.treasuryAt(t));
        }
        require(taken == commission, "commission is not the rest");
    }

    function _everyStepKeptItsRules() private view {
        require(bytes(handler.broken()).length == 0, handler.broken());
    }

    /// What withdrawals have sent to the node's two payouts.
    function _received(uint256 node) private view returns (uint256) {
        return handler.usd().balanceOf(handler.payoutAt(node, 0)) + handler.usd().balanceOf(handler.payoutAt(node, 1));
    }
}
