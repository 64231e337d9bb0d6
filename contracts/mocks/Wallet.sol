// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A wallet that is a contract
/// @notice FOR TESTS ONLY: it does what anyone asks, and calls every signature its own.
contract Wallet {
    /// @notice Call `target` as the wallet.
    function execute(address target, bytes calldata data) external {
        (bool done,) = target.call(data);
        require(done);
    }

    /// @notice ERC-1271: any signature over anything is valid.
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}
