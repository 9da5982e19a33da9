// States for a planner out of an ONNX graph, in C++17 on ONNX Runtime's C interface: the program of sample.py.
//
//   g++ -std=c++17 -O2 sample.cpp -I ORT/include -L ORT/lib -lonnxruntime -Wl,-rpath,ORT/lib -o sample
//   ./sample narrow.onnx problem.txt 100 > states.csv
//
// ORT is the unpacked archive of a release of ONNX Runtime, or any other installation of it.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

const OrtApi* const ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw std::runtime_error(message);
}

struct Problem {
  std::array<double, 2> start, goal;
  std::vector<std::array<double, 4>> walls;  // x0, y0, x1, y1
};

Problem read_problem(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("there is no file " + path);
  Problem problem;
  std::string line, word;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    if (!(words >> word)) continue;
    if (word == "wall") {
      std::array<double, 4> wall;
      for (double& value : wall) words >> value;
      problem.walls.push_back(wall);
    } else {
      for (double& value : word == "start" ? problem.start : problem.goal) words >> value;
    }
    if (!words) throw std::runtime_error("cannot read the line: " + line);
  }
  return problem;
}

// What the model sees, (3, size, size), 0 to 1: row i is y, column j is x. A cell is occupied where its centre lies in
// a wall; start and goal are bumps of a standard deviation of two cells. All is rounded to whole 255ths, as the
// training set stores bytes.
std::vector<float> grid(const Problem& problem, int size) {
  std::vector<double> image(3 * size * size, 0.0);
  const auto bump = [size](double centre, double point) {
    const double away = (centre - point) * size / 2;
    return std::exp(-0.5 * (away * away));
  };
  for (int i = 0; i < size; ++i) {
    for (int j = 0; j < size; ++j) {
      const double x = (j + 0.5) / size, y = (i + 0.5) / size;
      const int at = i * size + j;
      for (const auto& [x0, y0, x1, y1] : problem.walls)
        if (x >= x0 && x <= x1 && y >= y0 && y <= y1) image[at] = 1.0;
      image[size * size + at] = bump(y, problem.start[1]) * bump(x, problem.start[0]);
      image[2 * size * size + at] = bump(y, problem.goal[1]) * bump(x, problem.goal[0]);
    }
  }
  std::vector<float> out(image.size());
  std::transform(image.begin(), image.end(), out.begin(),
                 [](double value) { return static_cast<float>(std::nearbyint(255 * value) / 255); });
  return out;
}

// The points 1 to n of the Halton sequence, (n, dimensions): evenly spread in the unit cube.
std::vector<float> halton(int n, int dimensions) {
  constexpr std::array<int, 16> primes = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};
  if (dimensions > static_cast<int>(primes.size())) throw std::runtime_error("more dimensions than primes");
  std::vector<float> points(n * dimensions);
  for (int i = 0; i < n; ++i) {
    for (int d = 0; d < dimensions; ++d) {
      double value = 0.0, digit = 1.0;
      for (int left = i + 1; left > 0; left /= primes[d]) {
        digit /= primes[d];
        value += digit * (left % primes[d]);
      }
      points[i * dimensions + d] = static_cast<float>(value);
    }
  }
  return points;
}

// What lies beyond a limit of the unit square is mirrored at it.
float mirrored(float value) {
  if (value >= 0 && value <= 1) return value;
  const float along = value - 2 * std::floor(value / 2);
  return std::min(along, 2 - along);
}

class Graph {
 public:
  explicit Graph(const std::string& path) {
    if (ort == nullptr) throw std::runtime_error("ONNX Runtime is older than its header");
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "sample", &env_));
    check(ort->CreateSessionOptions(&options_));
    check(ort->CreateSession(env_, path.c_str(), options_, &session_));  // on Windows the path is in wchar_t
    check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_));
  }
  ~Graph() {
    ort->ReleaseMemoryInfo(memory_);
    ort->ReleaseSession(session_);
    ort->ReleaseSessionOptions(options_);
    ort->ReleaseEnv(env_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // An entry of the graph's metadata.
  std::string told(const char* key) const {
    OrtAllocator* allocator = nullptr;
    OrtModelMetadata* metadata = nullptr;
    char* value = nullptr;
    check(ort->GetAllocatorWithDefaultOptions(&allocator));
    check(ort->SessionGetModelMetadata(session_, &metadata));
    OrtStatus* status = ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, key, &value);
    ort->ReleaseModelMetadata(metadata);
    check(status);
    if (value == nullptr) throw std::runtime_error(std::string("the graph does not say ") + key);
    const std::string text = value;
    check(ort->AllocatorFree(allocator, value));
    return text;
  }

  OrtValue* tensor(std::vector<float>& values, const std::vector<std::int64_t>& shape) const {
    OrtValue* out = nullptr;
    check(ort->CreateTensorWithDataAsOrtValue(memory_, values.data(), values.size() * sizeof(float), shape.data(),
                                              shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &out));
    return out;
  }

  std::vector<float> states(std::vector<float> u, int n, const Problem& problem, int size) const {
    std::vector<float> start(problem.start.begin(), problem.start.end());
    std::vector<float> goal(problem.goal.begin(), problem.goal.end());
    std::vector<float> image = grid(problem, size);
    const std::array<const char*, 4> names = {"u", "start", "goal", "grid"};
    const std::array<const char*, 1> outputs = {"states"};
    const std::array<OrtValue*, 4> inputs = {
        tensor(u, {n, static_cast<std::int64_t>(u.size()) / n}),
        tensor(start, {1, 2}),
        tensor(goal, {1, 2}),
        tensor(image, {1, 3, size, size}),
    };
    OrtValue* found = nullptr;
    OrtStatus* status = ort->Run(session_, nullptr, names.data(), inputs.data(), inputs.size(), outputs.data(),
                                 outputs.size(), &found);
    for (OrtValue* input : inputs) ort->ReleaseValue(input);
    check(status);
    void* data = nullptr;
    check(ort->GetTensorMutableData(found, &data));
    const float* first = static_cast<const float*>(data);
    std::vector<float> out(first, first + 2 * n);
    ort->ReleaseValue(found);
    std::transform(out.begin(), out.end(), out.begin(), mirrored);
    return out;
  }

 private:
  OrtEnv* env_ = nullptr;
  OrtSessionOptions* options_ = nullptr;
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: sample GRAPH.onnx PROBLEM.txt N");
  const Graph graph(argv[1]);
  const int n = std::max(1, std::atoi(argv[3]));
  // {"start": [1, 2], "goal": [1, 2], "grid": [1, 3, 64, 64]}: the last number is the grid's width.
  const std::string shapes = graph.told("condition");
  const int size = std::atoi(shapes.c_str() + shapes.rfind(',') + 1);
  const std::vector<float> u = halton(n, std::stoi(graph.told("uniforms")));
  const std::vector<float> states = graph.states(u, n, read_problem(argv[2]), size);
  std::puts("q0,q1");
  for (int i = 0; i < n; ++i) std::printf("%.9g,%.9g\n", states[2 * i], states[2 * i + 1]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "sample: " << error.what() << "\n";
  return 2;
}
