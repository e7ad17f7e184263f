// SPDX-License-Identifier: MIT OR Apache-2.0
// What is thrown, held to what the library says of its errors in C.
#ifndef THROWING_HPP
#define THROWING_HPP

#include "support.h"

#include <agentcg.hpp>

using namespace std::chrono_literals;
using agentcgpp::group;

/// Long enough for any wait that is bound to end.
inline constexpr std::chrono::milliseconds soon{SOON_MS};

/// What the call throws; the test fails if it does not, or if it is not fit to read.
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
