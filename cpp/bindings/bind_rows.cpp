#include "bindings.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>
#include <unordered_map>

namespace py = pybind11;

namespace lbpsi::bindings {

namespace {

bool blank(char c) { return c == ' ' || c == '\t'; }

// Where the values of a row go: the place of each column in the result, -1 for none.
struct Layout {
  std::vector<int> place;
  int width, label;
  const std::vector<std::string> &labels;
};

// Place of a word among the labels; -1 where it is none of them.
int find_label(const std::vector<std::string> &labels, std::string_view word)
{
  const auto found = std::find(labels.begin(), labels.end(), word);
  return found == labels.end() ? -1 : static_cast<int>(found - labels.begin());
}

// One line. Returns its end, null where it is not what the layout says.
const char *parse_row(const char *at, const char *end, const Layout &layout, double *row)
{
  for (int column = 0; column < static_cast<int>(layout.place.size()); ++column) {
    at = std::find_if_not(at, end, blank);
    const char *word = at;
    const int place = layout.place[column];
    if (place >= 0 && column != layout.label) {
      const auto parsed = std::from_chars(at, end, row[place]);
      if (parsed.ec != std::errc()) return nullptr;
      at = parsed.ptr;
    } else {
      at = std::find_if(at, end, [](char c) { return blank(c) || c == '\n'; });
      const int code = place < 0 ? 0 : find_label(layout.labels, {word, std::size_t(at - word)});
      if (at == word || code < 0) return nullptr;
      if (place >= 0) row[place] = code;
    }
    if (at == end || !(blank(*at) || *at == '\n')) return nullptr;
  }
  at = std::find_if_not(at, end, blank);
  return at != end && *at == '\n' ? at + 1 : nullptr;
}

py::object parse_rows(std::string_view text, py::ssize_t rows, int columns,
                      const std::vector<int> &wanted, int label,
                      const std::vector<std::string> &labels)
{
  Layout layout{std::vector<int>(std::max(0, columns), -1), static_cast<int>(wanted.size()), label,
                labels};
  for (int place = 0; place < layout.width; ++place) {
    if (wanted[place] < 0 || wanted[place] >= columns)
      throw std::invalid_argument("wanted holds column " + std::to_string(wanted[place]) +
                                  "; expected 0 to " + std::to_string(columns - 1));
    layout.place[wanted[place]] = place;
  }
  py::array_t<double> values({std::max<py::ssize_t>(0, rows), py::ssize_t(layout.width)});
  const char *at = text.data(), *end = at + text.size();
  double *row = values.mutable_data();
  for (py::ssize_t k = 0; at && k < rows; ++k, row += layout.width)
    at = parse_row(at, end, layout, row);
  if (at != end) return py::none();
  return values;
}

py::tuple count_rows(const Array<std::int64_t> &table)
{
  check_shape("table", table, {-1, -1});
  const py::ssize_t n = table.shape(0), width = table.shape(1);
  std::unordered_map<std::string_view, std::int64_t> tally;    // by the bytes of a row
  for (py::ssize_t i = 0; i < n; ++i)
    ++tally[{reinterpret_cast<const char *>(table.data() + i * width),
             width * sizeof(std::int64_t)}];
  using Counted = std::pair<const std::int64_t *, std::int64_t>;
  std::vector<Counted> sorted;
  for (const auto &[row, count] : tally)
    sorted.emplace_back(reinterpret_cast<const std::int64_t *>(row.data()), count);
  std::sort(sorted.begin(), sorted.end(), [width](const Counted &a, const Counted &b) {
    return std::lexicographical_compare(a.first, a.first + width, b.first, b.first + width);
  });
  py::array_t<std::int64_t> rows({py::ssize_t(sorted.size()), width}), counts(sorted.size());
  for (std::size_t k = 0; k < sorted.size(); ++k) {
    std::copy(sorted[k].first, sorted[k].first + width, rows.mutable_data() + k * width);
    counts.mutable_data()[k] = sorted[k].second;
  }
  return py::make_tuple(rows, counts);
}

}    // namespace

void bind_rows(py::module_ &m)
{
  m.def(
      "parse_rows", &parse_rows, py::arg("text"), py::arg("rows"), py::arg("columns"),
      py::arg("wanted"), py::arg("label") = -1, py::arg("labels") = std::vector<std::string>{},
      "Columns `wanted` of lines of words, as numbers (rows, wanted); words of the column `label` "
      "become their places in labels. None where the text is anything but so many lines of so "
      "many columns, numbers and labels where they should be.");
  m.def("count_rows", &count_rows, py::arg("table"),
        "Distinct rows of integers, in order, and how often each is in the table (n, k).");
}

}    // namespace lbpsi::bindings
