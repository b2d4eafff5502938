# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash

# Selftests that run in the VM: the project's and the tree's own.
SELFTESTS=(iommu iommu_liveupdate liveupdate)

build_for_vm() {
	"$BUILD_DIR/kernel.sh" test && "$BUILD_DIR/kernel.sh" disabled &&
		"$BUILD_DIR/kernel.sh" unpatched && "$BUILD_DIR/kernel.sh" other &&
		"$BUILD_DIR/kernel.sh" newer && "$BUILD_DIR/kernel.sh" soak &&
		"$BUILD_DIR/selftests.sh" "${SELFTESTS[@]}"
}

check_vm_tests() {
	local kernel=$BUILD_DIR/kernel.sh

	if ! build_for_vm; then
		failed=$((failed + 1))
		say "FAIL tests in the VM: nothing to run, see above"
		return
	fi
	suite "tests in the VM" "$LIVEUPDATE_VM" test \
		--kernel "$("$kernel" vm --print)" \
		--test-kernel "$("$kernel" test --print)" \
		--disabled-kernel "$("$kernel" disabled --print)" \
		--unpatched-kernel "$("$kernel" unpatched --print)" \
		--other-kernel "$("$kernel" other --print)" \
		--newer-kernel "$("$kernel" newer --print)" --readme "$TOP/README.md" \
		--soak-kernel "$("$kernel" soak --print)" \
		--selftests "$("$BUILD_DIR/selftests.sh" --print)" \
		--guest "$LIVEUPDATE_GUEST" --out "$TOP/out/check"
}
