defmodule MQTT.PackageTest do
  # The library as others get it: a dependency that builds itself.
  use ExUnit.Case, async: false

  import MQTT.Test.Wire

  @fixture Path.expand("fixture_app", __DIR__)

  setup_all do
    directory = Path.join(System.tmp_dir!(), "mqtt-package-#{System.unique_integer([:positive])}")
    File.mkdir_p!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    %{directory: directory, build: Path.join(directory, "build")}
  end

  defp mix(arguments, build, env \\ []) do
    env = [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", build}] ++ env

    System.cmd(System.find_executable("mix"), arguments,
      cd: @fixture,
      env: env,
      stderr_to_stdout: true
    )
  end

  test "a project with a path dependency compiles, runs, and makes a release that runs",
       %{directory: directory, build: build} do
    assert {output, 0} = mix(["compile"], build)
    assert output =~ "Generated fixture_app app"
    refute output =~ "warning"
    # Nothing has changed, so nothing is built.
    assert {"", 0} = mix(["compile"], build)

    release = Path.join(directory, "release")
    assert {_, 0} = mix(["release", "--path", release], build)
    assert Path.wildcard(Path.join(release, "lib/mqtt-*/priv/native/mqtt_nif.so")) != []

    program = Path.join(release, "bin/fixture_app")

    server =
      Port.open({:spawn_executable, program}, [
        :binary,
        :stderr_to_stdout,
        line: 1_000,
        args: ["start"]
      ])

    {:os_pid, pid} = Port.info(server, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"], stderr_to_stdout: true) end)
    assert_receive {^server, {:data, {:eol, "listening on " <> port}}}, 30_000

    client = connect(String.to_integer(port))
    send_bytes(client, publish_packet("a", "from a release"))
    assert recv(client) == publish_packet("a", "from a release")
    close(client)
  end

  describe "when it cannot be built, it says so:" do
    # Other flags than those that it was built with, so that there is something to do.
    @rebuild [{"RUSTFLAGS", "--cfg rebuild"}]

    test "no cargo", %{build: build, directory: directory} do
      path = directory_of(~w(elixir erl sh env dirname basename readlink sed), directory)
      assert {output, 1} = mix(["compile"], build, [{"PATH", path} | @rebuild])
      assert output =~ "built with Rust 1.91 or later, and there is no cargo in the PATH"
    end

    test "a cargo that is too old", %{build: build, directory: directory} do
      env = fake_cargo(directory, "echo 'cargo 1.70.0 (ec8a8a0ca 2023-04-25)'")
      assert {output, 1} = mix(["compile"], build, env)
      assert output =~ "built with Rust 1.91 or later, and cargo --version says: cargo 1.70.0"
    end

    test "a rustup without a toolchain", %{build: build, directory: directory} do
      env = fake_cargo(directory, "echo 'error: no default toolchain is set' >&2; exit 1")
      assert {output, 1} = mix(["compile"], build, env)
      assert output =~ "and cargo --version says: error: no default toolchain is set"
    end

    test "an error of cargo's", %{build: build, directory: directory} do
      fails = "echo 'error[E0308]: mismatched types'; exit 101"
      env = fake_cargo(directory, "[ $1 = --version ] && echo cargo 1.99.0 || { #{fails}; }")
      assert {output, 1} = mix(["compile"], build, env)
      assert output =~ "error[E0308]: mismatched types"
      assert output =~ "cargo could not build the native part of :mqtt; its messages are above."
    end

    test "a cargo that leaves what it built for another target", context do
      %{build: build, directory: directory} = context
      env = fake_cargo(directory, "[ $1 != --version ] || echo cargo 1.99.0")
      assert {output, 1} = mix(["compile"], build, env)
      assert output =~ "cargo has built no libmqtt_nif.so under"
    end

    test "a profile that is none", %{build: build} do
      assert {output, 1} = mix(["compile"], build, [{"MQTT_NATIVE_PROFILE", "fast"}])
      assert output =~ ~s(MQTT_NATIVE_PROFILE must be release or debug, and it is "fast")
    end
  end

  defp fake_cargo(directory, script) do
    bin = Path.join(directory, "bin")
    File.mkdir_p!(bin)
    cargo = Path.join(bin, "cargo")
    File.write!(cargo, "#!/bin/sh\n#{script}\n")
    File.chmod!(cargo, 0o755)
    [{"PATH", "#{bin}:#{System.fetch_env!("PATH")}"} | @rebuild]
  end

  # A PATH with these programs and no other.
  defp directory_of(programs, directory) do
    path = Path.join(directory, "path")
    File.mkdir_p!(path)

    for program <- programs, target = System.find_executable(program) do
      File.ln_s!(target, Path.join(path, program))
    end

    path
  end
end
