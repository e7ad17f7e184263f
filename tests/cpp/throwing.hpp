// SPDX-License-Identifier: MIT OR Apache-2.0
// Checks exceptions as check.h checks the errors of C.
#ifndef THROWING_HPP
#define THROWING_HPP

#include "support.h"

#include <agentcg.hpp>

using namespace std::chrono_literals;
using agentcgpp::group;

/// Longer than any wait that ends.
inline constexpr std::chrono::milliseconds soon{SOON_MS};

/// Returns the exception of the call. Fails if there is none, or if the error is not complete and readable.
template <class Call>
agentcgpp::error thrown_by(const char *words, Call call, std::errc expected)
{
	try {
		call();
	} catch (const agentcgpp::error &e) {
		const char *flaw = check_error_flaw(&e.c(), -static_cast<int>(expected));
		if (flaw)
			CHECK_FAIL("%s\n\tthrows an error that %s: \"%s\"", words, flaw, e.what());
		CHECK(e.code() == expected);
		return e;
	}
	CHECK_FAIL("%s\n\tthrows nothing", words);
}
#define THROWN_BY(call, expected) thrown_by(#call, [&] { static_cast<void>(call); }, std::errc::expected)

#endif
