defmodule Mix.Tasks.Mqtt.PasswdTest do
  use ExUnit.Case, async: true
  import ExUnit.CaptureIO

  alias Mix.Tasks.Mqtt.Passwd
  alias MQTT.Broker.Passwords

  setup do
    directory = Path.join(System.tmp_dir!(), "mqtt-#{System.unique_integer([:positive])}")
    File.mkdir!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    %{path: Path.join(directory, "passwords")}
  end

  defp verify(path, user, password) do
    assert {:ok, passwords} = Passwords.load(path)
    Passwords.verify(passwords, user, password)
  end

  test "a file is made, changed, and made anew", %{path: path} do
    assert Passwd.run(["-c", "-I", "3", "-b", path, "roger", "one"]) == :ok
    assert Passwd.run(["--batch", "--iterations=5", path, "anna", "-two"]) == :ok
    assert verify(path, "roger", "one") and verify(path, "anna", "-two")
    assert File.read!(path) =~ ~r/\Aroger:\$7\$3\$\S+\nanna:\$7\$5\$\S+\n\z/
    assert Passwd.run(["-D", path, "roger"]) == :ok
    refute verify(path, "roger", "one")
    assert Passwd.run(["-bc", "-I9", path, "roger", "three"]) == :ok
    assert verify(path, "roger", "three")
    refute verify(path, "anna", "-two")
  end

  test "the password is the first line of standard input if that is no terminal", %{path: path} do
    assert capture_io("päss word\r\nmore\n", fn ->
             Passwd.run(["--create", "-I", "3", path, "roger"])
           end) ==
             ""

    assert verify(path, "roger", "päss word")

    assert_raise Mix.Error, "no password was entered", fn ->
      capture_io("", fn -> Passwd.run([path, "roger"]) end)
    end
  end

  test "an error is one sentence", %{path: path} do
    usage =
      "usage: mix mqtt.passwd [--create] [--batch] [--iterations N] FILE USER [PASSWORD], " <>
        "or mix mqtt.passwd --delete FILE USER"

    iterations =
      "option :iterations of mix mqtt.passwd must be an integer from 1 to 10000000, got: 0"

    for {arguments, sentence} <- [
          {[], usage},
          {[path], usage},
          {[path, "a", "b"], usage},
          {["-b", path, "a"], usage},
          {["-D", "-b", path, "a"], usage},
          {["-D", "-c", path, "a"], usage},
          {["-x", path, "a"], "unknown or wrong option -x; " <> usage},
          {["-I", "x", path, "a"], "unknown or wrong option -I; " <> usage},
          {["-I", "0", "-c", path, "a"], iterations},
          {[path, "a"], "#{path}: no such file; make it with --create"},
          {["-b", path, "a", "b"], "#{path}: no such file or directory"},
          {["-D", path, "a"], "#{path}: no such file or directory"},
          {["-c", path, "a:b"], "the user name has a colon"},
          {["-c", "-b", path, "", "b"], "the user name is empty"},
          {["-c", "-b", path, "a\tb", "b"], "the user name has a control character"},
          {["-c", "-b", path, "a", ""], "the password is empty"}
        ] do
      assert_raise Mix.Error, sentence, fn -> Passwd.run(arguments) end
      refute File.exists?(path)
    end
  end
end
