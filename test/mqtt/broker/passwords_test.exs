defmodule MQTT.Broker.PasswordsTest do
  use ExUnit.Case, async: true
  doctest MQTT.Broker.Passwords

  alias MQTT.Broker.Passwords

  # Of Python's hashlib.pbkdf2_hmac and sha512, with salts that count from 1, 0 and 100.
  @of_mosquitto_2_0 "$7$101$AQIDBAUGBwgJCgsM$5kuDlPxk4unwrCNqBsmJnY3Z0kZ9ZhouTH3Rx8Tf/IdYcaeOct/ix56dxfCGhLwfujKmmiswzHHbuSfgOTYFSw=="
  @of_mosquitto_2_1 "$7$1500$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$MLmp8jKeGm2dhDRT+5sPw3G7bjrsEuiTs9nDWsnSl0F5OPwmkT9Xy6iW/kqOblmZlJKJsRBSD3UgtqB6Kt67tA=="
  @of_mosquitto_1 "$6$ZGVmZ2hpamtsbW5v$jJvddQggOmZlyDYkc1AQiYHTGI6D3C9Ks37BIBC1kBEnwyYJdVhT1LCEn9CyZT2NF+ehtfhbhdqJTeogdOMOQA=="
  # Made by mosquitto_passwd 2.0.11 of "secret".
  @made "$7$101$u0a6sbejr8MPGQSj$EF2YhS4vCkgaVKLtyHqHgc57UoKmGw4tOlea62r0xDfk+6O6kOAP3n+NVST49jvhxWSUiFqgL9Da9o10QbmbMg=="
  @few [iterations: 3]

  setup do
    directory = Path.join(System.tmp_dir!(), "mqtt-#{System.unique_integer([:positive])}")
    File.mkdir!(directory)
    on_exit(fn -> File.rm_rf!(directory) end)
    %{path: Path.join(directory, "passwords")}
  end

  defp load!(path, text) do
    File.write!(path, text)
    assert {:ok, passwords} = Passwords.load(path)
    passwords
  end

  test "files of mosquitto are used as they are", %{path: path} do
    passwords =
      load!(path, [
        "# comment: no user\n\n#",
        <<0xE4, "\na:", @of_mosquitto_2_0, "\n  b b : ", @of_mosquitto_2_1, "\r\n">>,
        ["c:", @of_mosquitto_1, "\nd:", @made]
      ])

    for {user, password} <- [
          {"a", "pässword"},
          {"b b", "secret"},
          {"c", "old secret"},
          {"d", "secret"}
        ] do
      assert Passwords.verify(passwords, user, password)

      for wrong <- ["", password <> "x", String.upcase(password), <<0xFF>>] do
        refute Passwords.verify(passwords, user, wrong)
      end
    end
  end

  test "who is unknown or says nothing is refused", %{path: path} do
    passwords = load!(path, "a:#{@made}\n")

    for {user, password} <- [
          {"b", "secret"},
          {"", "secret"},
          {"A", "secret"},
          {nil, "secret"},
          {"a", nil},
          {nil, nil}
        ] do
      assert Passwords.verify(passwords, user, password) == false
    end

    refute Passwords.verify(load!(path, ""), "a", "secret")
    refute Passwords.verify(load!(path, "# nobody\n"), "a", "secret")
  end

  test "an unknown user costs as much as the costliest", %{path: path} do
    hash = Passwords.hash("x", iterations: 100_000)
    passwords = load!(path, "a:#{@made}\nb:#{hash}\n")

    :erlang.trace_pattern({Passwords.Hash, :verify, 2}, true, [])
    on_exit(fn -> :erlang.trace_pattern({Passwords.Hash, :verify, 2}, false, []) end)

    # Those of the hash that is computed. Only another process can be watched.
    iterations = fn user ->
      asked =
        Task.async(fn ->
          receive do: (:watched -> Passwords.verify(passwords, user, "y"))
        end)

      1 = :erlang.trace(asked.pid, true, [:call])
      send(asked.pid, :watched)
      refute Task.await(asked)
      assert_receive {:trace, _, :call, {Passwords.Hash, :verify, [{iterations, _, _}, "y"]}}
      iterations
    end

    assert iterations.("a") == 101
    assert iterations.("b") == 100_000
    assert iterations.("nobody") == 100_000
  end

  test "an error names the file, the line and what is wrong", %{path: path} do
    hashed =
      "in an unknown format, which cannot be used; set it with mosquitto_passwd -H sha512-pbkdf2 or mix mqtt.passwd"

    key = Base.encode64(:binary.copy("k", 64))
    number = "the iterations of the hash are not a number from 1 to 10000000"

    for {line, sentence} <- [
          {"anna", "there is no colon between user name and password"},
          {":#{@made}", "the user name is empty"},
          {" : #{@made}", "the user name is empty"},
          {"a\0b:#{@made}", "the user name has a control character"},
          {<<0xE4, ":", @made>>, "the user name is not UTF-8"},
          {"roger:#{@made}", "the user \"roger\" is in line 2 already"},
          {"anna:secret",
           "the password is not hashed; do it with mosquitto_passwd -U or mix mqtt.passwd"},
          {"anna:",
           "the password is not hashed; do it with mosquitto_passwd -U or mix mqtt.passwd"},
          {"anna:$", "the password is hashed #{hashed}"},
          {"anna:$5$c2FsdA==$#{key}", "the password is hashed #{hashed}"},
          {"anna:$7$c2FsdA==$#{key}", "the password is hashed #{hashed}"},
          {"anna:#{@made}$", "the password is hashed #{hashed}"},
          {"anna:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$a2V5",
           "the password is hashed " <>
             String.replace(hashed, "in an unknown format", "with argon2id")},
          {"anna:$7$0$c2FsdA==$#{key}", number},
          {"anna:$7$-1$c2FsdA==$#{key}", number},
          {"anna:$7$1e3$c2FsdA==$#{key}", number},
          {"anna:$7$10000001$c2FsdA==$#{key}", number},
          {"anna:$7$1$$#{key}", "the salt of the password is empty"},
          {"anna:$7$1$c2FsdA$#{key}", "the salt of the password is not in Base 64"},
          {"anna:$6$c2FsdA==$!", "the hash of the password is not in Base 64"},
          {"anna:$7$1$c2FsdA==$a2V5", "the hash of the password is not 64 bytes long"}
        ] do
      File.write!(path, ["# comment\nroger:", @made, "\n", line, "\nanother\n"])
      assert Passwords.load(path) == {:error, "#{path}, line 3: #{sentence}"}
    end

    assert Passwords.load(Path.dirname(path)) ==
             {:error, "#{Path.dirname(path)}: illegal operation on a directory"}
  end

  test "a hash has a salt of its own" do
    assert ["", "7", "210000", salt, key] = "a" |> Passwords.hash() |> String.split("$")
    assert byte_size(Base.decode64!(salt)) == 64 and byte_size(Base.decode64!(key)) == 64
    assert Passwords.hash("a", @few) != Passwords.hash("a", @few)

    assert_raise ArgumentError, ~r/:iterations of MQTT.Broker.Passwords/, fn ->
      Passwords.hash("a", iterations: 0)
    end
  end

  test "many iterations give what OTP's function gives", %{path: path} do
    [salt, key] =
      [<<1::96>>, :crypto.pbkdf2_hmac(:sha512, "a", <<1::96>>, 2_000, 64)]
      |> Enum.map(&Base.encode64/1)

    passwords = load!(path, "a:$7$2000$#{salt}$#{key}")
    assert Passwords.verify(passwords, "a", "a")
    refute Passwords.verify(passwords, "a", "b")
  end

  test "users come, change and go, and the rest of the file stays", %{path: path} do
    text = "# first\n\n anna : #{@made}\r\nplain:text\n  # between\nroger:#{@made}\nanna:x"
    File.write!(path, text)
    assert Passwords.put(path, "anna", "new", @few) == :ok
    assert Passwords.put(path, "zoë", "other", @few) == :ok
    hash = "\\$7\\$3\\$\\S+"

    assert File.read!(path) =~
             ~r/\A# first\n\nanna:#{hash}\nplain:text\n  # between\nroger:\S+\nzoë:#{hash}\n\z/u

    assert Passwords.delete(path, "plain") == :ok
    assert {:ok, passwords} = Passwords.load(path)

    for {user, password} <- [{"anna", "new"}, {"zoë", "other"}, {"roger", "secret"}] do
      assert Passwords.verify(passwords, user, password)
    end

    for user <- ["anna", "zoë", "roger"], do: assert(Passwords.delete(path, user) == :ok)
    assert File.read!(path) == "# first\n\n  # between\n"
    assert Passwords.delete(path, "anna") == {:error, "#{path}: there is no user \"anna\""}
    assert File.ls!(Path.dirname(path)) == ["passwords"]
  end

  test "a new file is its owner's alone, and one that is there keeps its mode", %{path: path} do
    assert Passwords.put(path, "a", "b", @few) == {:error, "#{path}: no such file or directory"}
    assert Passwords.delete(path, "a") == {:error, "#{path}: no such file or directory"}
    assert Passwords.create(path, "a", "b", @few) == :ok
    mode = fn -> Bitwise.band(File.stat!(path).mode, 0o777) end
    assert mode.() == 0o600
    File.chmod!(path, 0o640)
    assert Passwords.put(path, "c", "d", @few) == :ok
    assert mode.() == 0o640
    assert Passwords.create(path, "e", "f", @few) == :ok
    assert ["e:" <> _, ""] = path |> File.read!() |> String.split("\n")
    assert File.ls!(Path.dirname(path)) == ["passwords"]
  end

  test "a symbolic link stays one", %{path: path} do
    File.ln_s!("passwords", path <> ".link")
    assert Passwords.create(path <> ".link", "a", "b", @few) == :ok
    assert Passwords.put(path <> ".link", "c", "d", @few) == :ok
    assert File.read_link!(path <> ".link") == "passwords"
    assert path |> File.read!() |> String.split("\n") |> length() == 3
  end

  test "what would not survive in the file is not written", %{path: path} do
    assert Passwords.create(path, "a", "b", @few) == :ok
    before = File.read!(path)

    for {user, password, sentence} <- [
          {"", "b", "the user name is empty"},
          {"a:b", "b", "the user name has a colon"},
          {"a\n", "b", "the user name has a control character"},
          {"a\x7Fb", "b", "the user name has a control character"},
          {"#a", "b", "the user name begins with #, as a comment does"},
          {" a", "b", "the user name begins or ends with a space"},
          {"a ", "b", "the user name begins or ends with a space"},
          {<<0xFF>>, "b", "the user name is not UTF-8"},
          {String.duplicate("a", 65_536), "b", "the user name has more than 65535 bytes"},
          {"a", "", "the password is empty"},
          {"a", String.duplicate("a", 65_536), "the password has more than 65535 bytes"}
        ] do
      assert Passwords.put(path, user, password, @few) == {:error, sentence}
      assert Passwords.create(path, user, password, @few) == {:error, sentence}
    end

    assert File.read!(path) == before
  end

  test "what is in a file is not in a log", %{path: path} do
    refute inspect(load!(path, "roger:#{@made}")) =~ "roger"
  end
end
