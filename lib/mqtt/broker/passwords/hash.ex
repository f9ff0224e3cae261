defmodule MQTT.Broker.Passwords.Hash do
  @moduledoc false
  # A hashed password as mosquitto writes it: `$7$iterations$salt$key`, which is PBKDF2 with
  # HMAC-SHA512, or of mosquitto 1.x `$6$salt$key`, which is one SHA512.

  @typedoc "The iterations are 0 in the format of mosquitto 1.x."
  @type t :: {iterations :: non_neg_integer, salt :: binary, key :: binary}

  # What PBKDF2 with SHA512 gives for one block, of which mosquitto's keys are.
  @key_size 64
  # mosquitto 2.1 takes 12 bytes or these; 16 are the least that NIST SP 800-132 recommends.
  @salt_size 64
  @max_iterations 10_000_000
  # As few take less than a millisecond.
  @few_iterations 1_000

  @doc "The options with which a password is hashed."
  @spec schema() :: MQTT.Options.schema()
  def schema do
    [{:iterations, {:integer, 1, @max_iterations}, 210_000, "How often the password is hashed."}]
  end

  @spec new(binary, pos_integer) :: t
  def new(password, iterations) do
    salt = :crypto.strong_rand_bytes(@salt_size)
    {iterations, salt, key(iterations, salt, password)}
  end

  @spec verify(t, binary) :: boolean
  def verify({iterations, salt, key}, password) do
    :crypto.hash_equals(key(iterations, salt, password), key)
  end

  @spec encode(t) :: String.t()
  def encode({iterations, salt, key}) do
    "$7$#{iterations}$#{Base.encode64(salt)}$#{Base.encode64(key)}"
  end

  @doc "The hash, or what is wrong with it, which does not say what is in it."
  @spec decode(binary) :: {:ok, t} | {:error, String.t()}
  def decode(text) do
    case String.split(text, "$") do
      ["", "7", iterations, salt, key] -> decode(decode_iterations(iterations), salt, key)
      ["", "6", salt, key] -> decode({:ok, 0}, salt, key)
      ["", "argon2id" | _] -> {:error, "the password is hashed with argon2id, #{unusable()}"}
      ["", _ | _] -> {:error, "the password is hashed in an unknown format, #{unusable()}"}
      _ -> {:error, "the password is not hashed; do it with mosquitto_passwd -U or #{again()}"}
    end
  end

  defp decode(iterations, salt, key) do
    with {:ok, iterations} <- iterations,
         {:ok, salt} <- decode64(salt, "salt"),
         {:ok, key} <- decode64(key, "hash") do
      cond do
        salt == "" -> {:error, "the salt of the password is empty"}
        byte_size(key) != @key_size -> {:error, "the hash of the password is not 64 bytes long"}
        true -> {:ok, {iterations, salt, key}}
      end
    end
  end

  defp decode_iterations(text) do
    case Integer.parse(text) do
      {iterations, ""} when iterations in 1..@max_iterations -> {:ok, iterations}
      _ -> {:error, "the iterations of the hash are not a number from 1 to #{@max_iterations}"}
    end
  end

  defp decode64(text, what) do
    with :error <- Base.decode64(text) do
      {:error, "the #{what} of the password is not in Base 64"}
    end
  end

  defp unusable,
    do: "which cannot be used; set it with mosquitto_passwd -H sha512-pbkdf2 or #{again()}"

  defp again, do: "mix mqtt.passwd"

  defp key(0, salt, password), do: :crypto.hash(:sha512, [password, salt])

  defp key(iterations, salt, password) do
    if iterations <= @few_iterations or :erlang.system_info(:otp_release) >= ~c"27" do
      :crypto.pbkdf2_hmac(:sha512, password, salt, iterations, @key_size)
    else
      pbkdf2(iterations, salt, password)
    end
  end

  # Up to OTP 26.2.2 the function of OTP does not run on a dirty scheduler and keeps a normal one from
  # all other work, a tenth of a second long. This one takes four times as long, and yields.
  defp pbkdf2(iterations, salt, password) do
    block = :crypto.mac(:hmac, :sha512, password, [salt, <<1::32>>])
    pbkdf2(iterations - 1, password, block, block)
  end

  defp pbkdf2(0, _password, _block, key), do: key

  defp pbkdf2(iterations, password, block, key) do
    block = :crypto.mac(:hmac, :sha512, password, block)
    pbkdf2(iterations - 1, password, block, :crypto.exor(key, block))
  end
end
